"""A person at the door: Chromium logs in, looks at Dagster's pages and at the report. Prints what was seen, as JSON.

A program of its own, because where the engine lives in a network of its own, so must the browser:
``python -m recyclic_backups_tests.docker.browser_visit ADDRESS USER [SCREENSHOTS]``, the password on standard input.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from recyclic_backups_tests.browser.conftest import CHROMIUM, FLAGS, PATIENCE_MILLISECONDS

ASSET = "/assets/recyclic/daily_backup"


def why_not() -> str:
    """What is missing here, or nothing."""
    if not any(shutil.which(name) for name in CHROMIUM):
        return "no Chromium (make test-browser installs it)"
    try:
        import playwright.sync_api  # noqa: F401 - whether it is there
    except ImportError:
        return "no Playwright (make test-browser installs it)"
    return ""


def visit(address: str, user: str, password: str, screenshots: str) -> dict[str, Any]:
    """What somebody with this password sees; without it, what the door answers."""
    from playwright.sync_api import sync_playwright

    program = next(found for name in CHROMIUM if (found := shutil.which(name)))
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    flags = [each.replace("127.0.0.1", "localhost") for each in FLAGS]
    seen: dict[str, Any] = {"websockets": 0, "frames": 0}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*flags, *root])
        # A page would raise: the browser has nobody to ask for a password.
        stranger = browser.new_context(base_url=address, ignore_https_errors=True)
        seen["without a password"] = stranger.request.get("/").status
        context = browser.new_context(
            base_url=address,
            ignore_https_errors=True,  # the certificate is signed by itself
            http_credentials={"username": user, "password": password},
            viewport={"width": 1400, "height": 1000},
        )
        context.set_default_timeout(PATIENCE_MILLISECONDS)
        page = context.new_page()

        def opened(socket: Any) -> None:
            seen["websockets"] += 1
            socket.on("framereceived", lambda _frame: seen.update(frames=seen["frames"] + 1))

        page.on("websocket", opened)
        for name, path, sentence in (
            ("runs", "/runs", "daily_backup_job"),
            ("asset", ASSET, "backup_id"),
            ("report", "/report", "recyclic"),
        ):
            page.goto(path)
            page.get_by_text(sentence).first.wait_for(state="attached")
            seen[name] = page.title()
            if screenshots:
                Path(screenshots).mkdir(parents=True, exist_ok=True)
                page.wait_for_timeout(3000)
                page.screenshot(path=f"{screenshots}/door-{user}-{name}.png")
        seen["cookies"] = sorted(each["name"] for each in context.cookies())
        browser.close()
    return seen


if __name__ == "__main__":
    address, user, *rest = sys.argv[1:]
    seen = visit(address, user, sys.stdin.readline().strip(), rest[0] if rest else "")
    sys.stdout.write(json.dumps(seen))
