"""What a check may be skipped for, and the one switch that makes each skip a failure.

A reason to skip begins with one of the names of :data:`SKIPS`; any other fails wherever the tests run. With
``BACKUP_TESTS_SKIP_IS_FAILURE=1`` every skip fails, but those whose names ``BACKUP_TESTS_MAY_SKIP`` lists: where the
tools are there, as in CI, nothing goes untested because one of them is not found any more.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from typing import Any

import pytest

SWITCH = "BACKUP_TESTS_SKIP_IS_FAILURE"
EXCEPT = "BACKUP_TESTS_MAY_SKIP"

SKIPS: Mapping[str, str] = {
    "address": "an address of the machine beside the loopback one",
    "chart": "`DAGSTER_CHART`, the directory of Dagster's Helm chart",
    "chromium": "Chromium and Playwright (`make test-browser`), for `make compose-test`",
    "contrib": "the extensions that come with PostgreSQL (Debian has them in the server's package)",
    "engine": "Docker with Compose, curl and openssl, for `make compose-test`",
    "icu": "a build of PostgreSQL with ICU",
    "landlock": "Linux with Landlock 4 or newer (kernel 6.7)",
    "linux": "Linux",
    "locales": "`localedef` and its sources (Debian's `locales`)",
    "mounts": "the right to mount: root, or user namespaces",
    "nginx": "`nginx` (Debian's `nginx-light`)",
    "other-user": "a second user, and a checkout that he can read",
    "promtool": "`promtool` (Debian's `prometheus`)",
    "restart": "`COMPOSE_TEST_RESTART_ENGINE`, for `make compose-test`",
    "root": "root",
    "shells": "`sh`, `bash` and `dash`",
    "systemd": "`systemd-analyze` of a systemd that judges units offline",
    "tls": "a PostgreSQL server with TLS: those of the wheel have none",
    "versions": "PostgreSQL of several major versions, 15 to 18",
    "wheel": "the PostgreSQL of the wheel, not hidden by installed ones of the same versions",
    "zstd": "the program `zstd`",
}
"""What each kind of skip lacks; docs/runbooks/dev-workflow-guide.md has the same table."""


def objection(reason: str) -> str:
    """Why something may not be skipped for that reason, as a sentence; empty if it may."""
    said = reason.removeprefix("Skipped: ")
    lacking = said.partition(":")[0]
    if lacking not in SKIPS:
        return f"no reason to skip begins so (skipping.py lists them): {said}"
    if os.environ.get(SWITCH) == "1" and lacking not in os.environ.get(EXCEPT, "").split():
        return f"skipped, and {SWITCH} makes that a failure: {said}"
    return ""


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, None]:
    """A skip that may not be is a failure."""
    outcome = yield
    report: pytest.TestReport = outcome.get_result()
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if problem := objection(reason):
            report.outcome, report.longrepr = "failed", problem
