"""Every page: its links lead somewhere, and nothing on any file is true on one machine only."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from recyclic_backups_tests.docs.pages import PROJECT, anchors, block, files, links, pages, read

# Put together here, so that this file does not contain what it forbids.
FORBIDDEN = {
    "a directory of somebody's machine": r"(?<![\w.$}])/(?:"
    + "|".join(("wo" + "rk", "ro" + "ot", "Us" + "ers/"))
    + r")\b",
    "a home directory": r"(?<![\w.$}])/ho" + r"me/(?!\{|user\b)\w",
    "a package index": "|".join(
        ("pypi" + r"\.org", "python" + "hosted", "index" + "-url=", "pkg" + r"\.dev")
    ),
}

IDS = [str(path.relative_to(PROJECT)) for path in pages()]


@pytest.mark.parametrize("page", pages(), ids=IDS)
def test_links_and_images_lead_somewhere(page: Path) -> None:
    """Loss prevented: at three in the morning, the page with the answer is not there."""
    for target in links(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            assert target.startswith("https://") or target.startswith("http://127.0.0.1"), target
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file.read_text(encoding="utf-8")), f"{page.name} links to {target}"


def test_every_image_is_shown_on_a_page() -> None:
    """Loss prevented: screenshots of a release that nobody remembers."""
    shown = {
        (page.parent / target).resolve() for page in pages() for target in links(page.read_text(encoding="utf-8"))
        if not re.match(r"[a-z]+:", target)
    }  # fmt: skip
    images = {path for path in files() if path.parent == PROJECT / "docs/images"}
    assert images <= shown, f"shown nowhere: {sorted(path.name for path in images - shown)}"


def test_every_decision_is_in_the_index() -> None:
    """Loss prevented: a question that was answered, asked and answered differently."""
    decisions = {path.name for path in (PROJECT / "docs/adr").glob("[0-9]*.md")}
    assert decisions == {target for target in links(read("docs/adr/README.md")) if target[0].isdigit()}


def test_no_file_names_a_machine_or_an_index() -> None:
    """Loss prevented: an installation that works for its author alone."""
    for path in files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # an image
        for what, pattern in FORBIDDEN.items():
            found = re.search(pattern, text)
            assert not found, (
                f"{path.relative_to(PROJECT)} names {what}: {text[found.start() - 30 : found.end() + 30]!r}"
            )


def test_the_layers_of_the_design_are_those_of_the_contract() -> None:
    """Loss prevented: a door that reaches around the house, because the page said that it may."""
    contracts = tomllib.loads(read("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    assert block(read("docs/design.md"), "layers").splitlines() == contracts[0]["layers"]


def test_the_house_of_the_design_is_the_one_that_stands() -> None:
    """Loss prevented: a newcomer who looks for a thing where it has not been for a year."""
    drawn = set(re.findall(r"^  (\w+(?:/|\.py)) ", block(read("docs/design.md"), "house"), re.MULTILINE))
    package = PROJECT / "recyclic_backups"
    standing = {f"{path.name}/" for path in package.iterdir() if (path / "__init__.py").is_file()}
    standing |= {path.name for path in package.glob("*.py")} - {"__init__.py"}
    assert drawn == standing


def test_every_file_of_ours_that_a_page_names_is_there() -> None:
    """Loss prevented: a newcomer who follows the map of a run, and looks for files that were renamed a year ago."""
    there = [f"/{path.relative_to(PROJECT).as_posix()}" for path in files()]
    for page in pages():
        if page.name == "CHANGELOG.md":
            continue  # says what there was
        named = re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)`", page.read_text(encoding="utf-8"))
        gone = {name for name in named if not any(path.endswith(f"/{name}") for path in there)}
        assert not gone, f"{page.relative_to(PROJECT)} names {', '.join(sorted(gone))}"
