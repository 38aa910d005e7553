"""How the definitions of two databases differ: of tables, indexes, functions, grants, whatever has one. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from recyclic_backups.fingerprint.model import Fingerprint

_GRANTS = ("ACL ", "DEFAULT ACL ", "DEFAULT PRIVILEGES ")
# PostgreSQL writes a view's text anew from what it has parsed, each major version in its own way.
_INFORMATION = ("TEXT OF ",)


def compare_definitions(
    expected: Fingerprint,
    actual: Fingerprint,
    *,
    same_major: bool,
    owners: bool,
    differences: list[str],
    notes: list[str],
) -> None:
    """Add what differs: from the schema texts if both are there and of one major version, else the listings."""
    if same_major and expected.schema is not None and actual.schema is not None:
        wanted, found = expected.schema, actual.schema
    else:
        wanted, found = expected.listing, actual.listing
        notes.append("definitions were compared by the catalog's listing, not by the text of a schema dump")
    covered = _covered(expected, actual)
    for name in sorted({*wanted, *found}):
        if (not owners and name.startswith(_GRANTS)) or (
            name in covered and not (name in wanted and name in found)
        ):
            continue
        if name.startswith(_INFORMATION) and not (name in wanted and name in found):
            continue
        sentences = notes if name.startswith(_INFORMATION) else differences
        sentences += _entry(name, wanted, found, owners=owners)


def _covered(expected: Fingerprint, actual: Fingerprint) -> frozenset[str]:
    """Entries whose absence the comparison of contents has named already."""
    return frozenset(
        f"{kind} {name}"
        for kind, names in (
            ("TABLE", {*expected.tables, *actual.tables}),
            ("SEQUENCE", {*expected.sequences, *actual.sequences}),
            ("MATERIALIZED VIEW", {*expected.materialized_views}),
            ("EXTENSION", {*expected.extensions, *actual.extensions}),
        )
        for name in names
    )


def _entry(name: str, wanted: Mapping[str, str], found: Mapping[str, str], *, owners: bool) -> list[str]:
    subject, verb = name, "is"
    if name.startswith("ACL "):
        subject, verb = f"the grants on {name.removeprefix('ACL ')}", "are"
    if name not in found:
        return [f"{subject} {verb} missing"]
    if name not in wanted:
        return [f"{subject} {'was' if verb == 'is' else 'were'} not there when the backup was taken"]
    (hash_wanted, _, owner_wanted), (hash_found, _, owner_found) = (
        side[name].partition(" ") for side in (wanted, found)
    )
    sentences = []
    if hash_wanted != hash_found:
        sentences.append(f"{subject} {'differ' if verb == 'are' else 'differs in its definition'}")
    if owners and owner_wanted != owner_found:
        sentences.append(
            f"{subject} belongs to {owner_found or 'nobody'} instead of {owner_wanted or 'nobody'}"
        )
    return sentences
