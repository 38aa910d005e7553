"""How an object of a schema is named in a fingerprint: readable, and never ambiguous. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

_PART = re.compile(r'"(?:[^"]|"")*+"|[^".]+')


def qualified_name(schema: str, name: str) -> str:
    """``schema.name``; a part is put into double quotes only if it is empty or has a dot or a quote in it.

    ``public.user`` stays as people write it on a command line, although SQL would want ``"user"`` quoted.
    """
    return f"{_part(schema)}.{_part(name)}"


def split_qualified_name(text: str) -> tuple[str, str]:
    """Schema and name of a :func:`qualified_name`. Raises ValueError for anything else."""
    parts = _PART.findall(text)
    if len(parts) != 2 or ".".join(parts) != text:
        raise ValueError(f"not a schema and a name with a dot between them: {text!r}")
    schema, name = (part[1:-1].replace('""', '"') if part.startswith('"') else part for part in parts)
    return schema, name


def some(names: Sequence[str]) -> str:
    """At most three names in a sentence, and how many more there are."""
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _part(name: str) -> str:
    if name and "." not in name and '"' not in name:
        return name
    return '"' + name.replace('"', '""') + '"'
