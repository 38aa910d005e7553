"""The plan of a restore in prose, said before anything is touched."""

from __future__ import annotations

from recyclic_backups.catalog.why import why_text
from recyclic_backups.cli import render
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.quantities import human_bytes, human_seconds
from recyclic_backups.restore.plan import RestorePlan

_PROVES = {
    "content": "this restore compares every row before anything changes",
    "counts": "this restore compares the number of rows of every table before anything changes",
    "off": "nor can this restore compare it, the backup has no fingerprint: look at it with --into first",
}
"""What a restore does about a backup that was never proven, by the level of its fingerprint."""


def say_plan(call: Invocation, plan: RestorePlan) -> None:
    """On standard error; of a restore beside, whose code comes with it and nothing else."""
    lines = [("code", text) for text in plan.code]
    if plan.touches_what_exists:
        lines = [*_of_the_backup(call, plan), *lines, *_of_the_target(plan)]
    said = ""
    for word, text in lines:
        render.warn(f"{'' if word == said else word:<9} {text}")
        said = word


def _of_the_backup(call: Invocation, plan: RestorePlan) -> list[tuple[str, str]]:
    backup, age = plan.backup, human_seconds(plan.lost_seconds)
    labels = ", ".join(f"{label.tier.value} {label.partition}" for label in backup.labels)
    stored = human_bytes(backup.manifest.stored_bytes)
    stays = " (it stays in the database that is replaced, which is kept)" if plan.exists else ""
    lost = (
        ("since", f"what was written into these tables in the {age} since then is taken out, and kept beside")
        if plan.action == "merge"
        else ("lost", f"what was written in the {age} since then{stays}")
    )
    newer = []
    if plan.newer is not None:
        moment = call.local_time(plan.newer.as_of)
        newer = [("newer", f"{plan.newer.backup_id}, of {moment}, is there too")]
    return [
        ("restore", f"{backup.backup_id} ({labels or 'no label'}; {stored} stored)"),
        ("content", f"of {call.local_time(backup.as_of)}, nothing newer"),
        lost,
        *newer,
        ("proven", _proof(call, plan)),
        ("took", _last_time(call, plan)),
    ]


def _of_the_target(plan: RestorePlan) -> list[tuple[str, str]]:
    place = f"{plan.database!r} on {plan.server.label}"
    if plan.action == "merge":
        rights = (
            (
                f"--trust-owners: the rows are put back by {plan.server.user!r}, and what is computed runs as him",
            )
            if plan.trust_owners
            else (
                "the rows are put back with the rights of the tables' owner; by a superuser (tables of his own, or of",
                "several owners) only if nothing that belongs to others is computed with them, else not at all",
            )
        )
        return [
            *(("rights", text) for text in rights),
            ("into", f"{place}: restored beside and compared first; if equal, the rows of"),
            ("into", f"{', '.join(plan.tables)} become those of the backup, in one transaction;"),
            ("into", "rows it does not have, and rows as they were, are kept in a database beside"),
        ]
    if plan.exists:
        return [
            ("replaces", f"{place}: restored beside and compared first; only if equal are"),
            ("replaces", "the names swapped; its sessions are ended then, and it is kept under another name"),
        ]
    return [
        (
            "replaces",
            f"nothing: there is no database {plan.database!r} on {plan.server.label} now; restored beside and",
        ),
        ("replaces", "compared first; only if equal does it take that name"),
    ]


def _proof(call: Invocation, plan: RestorePlan) -> str:
    if plan.failure is not None:
        check = plan.failure.check
        reason = why_text(check) if check.is_closed else next(iter(check.reasons), "no reason was given")
        return f"NO: the {plan.failure.what} of {call.local_time(check.checked_at)} FAILED: {reason}"
    if plan.proven_at is None:
        return f"never yet; {_PROVES[plan.compared]}"
    return f"{call.local_time(plan.proven_at)}, restored and found equal"


def _last_time(call: Invocation, plan: RestorePlan) -> str:
    if plan.measured is None:
        return "not known: no drill or restore was measured yet"
    check = plan.measured.check
    of_other = "" if check.backup_id == plan.backup.backup_id else f" of {check.backup_id}"
    seconds, when = human_seconds(check.duration_seconds), call.local_time(check.checked_at)
    return f"{seconds} the last time ({plan.measured.what}{of_other}, {when})"
