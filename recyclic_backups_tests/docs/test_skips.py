"""Everything that a test is skipped for is listed once, and one switch makes each skip a failure."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recyclic_backups_tests.docs.pages import PROJECT, read
from recyclic_backups_tests.skipping import EXCEPT, SKIPS, SWITCH, objection

TESTS = PROJECT / "recyclic_backups_tests"
GUIDE = "docs/runbooks/dev-workflow-guide.md"
OTHER_WAYS = {"importorskip", "xfail", "skipTest", "skipUnless", "SkipTest"}
"""Ways past a test that are not used here: what they lack would be in no list."""


def _text(node: ast.expr) -> str:
    """The beginning of a literal, formatted or not."""
    first = node.values[0] if isinstance(node, ast.JoinedStr) and node.values else node
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""


def skips(path: Path) -> Iterator[tuple[str, str]]:
    """Where a file skips something, or says that it cannot be shown, and the beginning of the reason."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            if isinstance(node, ast.Attribute) and node.attr in OTHER_WAYS:
                yield f"{path.name}:{node.lineno}", f"{node.attr} is not used here"
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name not in ("skip", "skipif", "not_shown") and (name, path.name) != (
            "objection",
            "compose_run.py",
        ):
            continue
        reasons = [each.value for each in node.keywords if each.arg == "reason"] or node.args[:1]
        yield f"{path.name}:{node.lineno}", _text(reasons[0]) if reasons else ""


def test_no_test_is_skipped_for_a_reason_that_is_not_listed() -> None:
    """Loss prevented: a test that has not run anywhere for a year, and nobody knows."""
    elsewhere = {
        "skipping.py",
        "stack.py",
        "test_files.py",
        Path(__file__).name,
    }  # where skips are made, and tried
    files = [each for each in TESTS.rglob("*.py") if each.name not in elsewhere]
    found = {f"{path.parent.name}/{where}": reason for path in files for where, reason in skips(path)}
    assert len(found) > 20
    unlisted = {where: reason for where, reason in found.items() if reason.partition(":")[0] not in SKIPS}
    assert not unlisted
    assert {reason.partition(":")[0] for reason in found.values()} == set(SKIPS), (
        "a name that nothing is skipped for"
    )


def test_the_guide_lists_them_all() -> None:
    """Loss prevented: somebody who does not know what to install to have everything tested."""
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| (.+) \|$", read(GUIDE), re.MULTILINE))
    assert rows == dict(SKIPS)
    assert SWITCH in read(GUIDE)
    assert EXCEPT in read(GUIDE)


@pytest.mark.parametrize(
    ("environment", "code"),
    [({}, 0), ({SWITCH: "1"}, 1), ({SWITCH: "1", EXCEPT: "nginx zstd"}, 0), ({SWITCH: "0"}, 0)],
    ids=["off", "on", "on-but-for", "zero"],
)
def test_with_the_switch_a_skip_is_a_failure(environment: dict[str, str], code: int, tmp_path: Path) -> None:
    """Loss prevented: a CI without nginx that is green, and a door that nobody tried."""
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "def test_in_it(): pytest.skip('zstd: not here')\n"
        "@pytest.mark.skipif(True, reason='nginx: not here')\n"
        "def test_before_it(): pass\n"
        "@pytest.fixture\n"
        "def made(): pytest.skip('zstd: nor here')\n"
        "def test_with_it(made): pass\n"
    )
    assert _run(tmp_path, environment) == code


def test_a_reason_that_is_not_listed_fails_wherever_it_runs(tmp_path: Path) -> None:
    """Loss prevented: a skip that the list and the switch do not know."""
    (tmp_path / "test_it.py").write_text("import pytest\ndef test_it(): pytest.skip('not today')\n")
    assert _run(tmp_path, {}) == 1
    assert "not today" in objection("Skipped: not today")


def _run(directory: Path, environment: dict[str, str]) -> int:
    known = {name: value for name, value in os.environ.items() if name not in (SWITCH, EXCEPT)}
    options = ["-p", "recyclic_backups_tests.skipping", "-p", "no:cacheprovider", "-c", os.devnull]
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            *options,
            "--rootdir",
            str(directory),
            str(directory / "test_it.py"),
        ],
        cwd=directory,
        env={**known, "PYTHONPATH": str(PROJECT), **environment},
        capture_output=True,
        check=False,
    ).returncode


def test_ci_sets_the_switch_where_tests_run() -> None:
    """Loss prevented: a gate that lets pass what it did not try."""
    import yaml  # type: ignore[import-untyped]

    jobs = yaml.safe_load((PROJECT / ".github/workflows/test.yml").read_text())["jobs"]
    for name in ("test", "chart", "compose"):
        assert jobs[name]["env"][SWITCH] == "1", name
        assert set(jobs[name]["env"].get(EXCEPT, "").split()) <= set(SKIPS)
