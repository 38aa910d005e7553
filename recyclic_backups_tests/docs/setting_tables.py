"""What people read about the settings, made from their table: the tables of docs/settings.md, and ``.env.example``.

``python -m recyclic_backups_tests.docs.setting_tables`` (``make settings``) writes both into a checkout, from its top.
"""

from __future__ import annotations

import ast
import re
from itertools import groupby, pairwise
from pathlib import Path

from recyclic_backups.config import settings
from recyclic_backups.config.settings import DECLARED

PAGE, EXAMPLE = Path("docs/settings.md"), Path(".env.example")

_EXAMPLE_INTRODUCTION = """\
# Every setting with its default; docs/settings.md says what each means. Copy what you need into a file called .env,
# without the # in front, and let nobody else read it: chmod 600 .env
"""
_TABLE = re.compile(r"(<!-- settings: (\w+), made by `make settings` -->\n).*?(<!-- end -->\n)", re.DOTALL)


def page(text: str) -> str:
    """The page with its tables made anew, each between its two markers. Raises KeyError for a group that is none."""
    tables = {group: "".join(rows) for group, rows in _rows().items()}
    head = "| Name | Default | Meaning |\n|---|---|---|\n"
    return _TABLE.sub(lambda found: f"{found[1]}\n{head}{tables[found[2]]}\n{found[3]}", text)


def example() -> str:
    """``.env.example``."""
    groups = groupby(DECLARED.values(), key=lambda each: each.group)
    parts = [
        f"\n# {group}\n" + "".join(f"#{each.name}={each.default}\n" for each in declared)
        for group, declared in groups
    ]
    return _EXAMPLE_INTRODUCTION + "".join(parts)


def _rows() -> dict[str, list[str]]:
    """The rows of each group's table."""
    meanings = _meanings()
    found: dict[str, list[str]] = {}
    for field, each in DECLARED.items():
        name = f"`{each.name}`{' 🔒' if each.secret else ''}"
        default = f" `{each.default}`" if each.default else ""
        found.setdefault(each.group, []).append(f"| {name} |{default} | {meanings[field]} |\n")
    return found


def _meanings() -> dict[str, str]:
    """The text below each field, in one line."""
    tree = ast.parse(Path(settings.__file__).read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Settings")
    return {
        declared.target.id: " ".join(text.value.value.split())
        for declared, text in pairwise(body)
        if isinstance(declared, ast.AnnAssign) and isinstance(declared.target, ast.Name)
        if isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    EXAMPLE.write_text(example(), encoding="utf-8")
