"""Chains of base backups: a full one, and the incremental ones that build on it. Pure.

An incremental base backup is of use only with every one before it, so for retention a chain is one thing.
"""

from __future__ import annotations

from collections.abc import Mapping

from recyclic_backups.base_backup.manifest import BaseManifest
from recyclic_backups.errors import DamagedData, RecoveryError


def chain_of(bases: Mapping[str, BaseManifest], base_id: str) -> list[BaseManifest]:
    """What a recovery from ``base_id`` needs, from the full base backup to that one: the order of pg_combinebackup.

    ``bases`` are all that there are, by their ids. Raises RecoveryError where there is no such base backup, DamagedData
    where one that it builds on is missing.
    """
    if base_id not in bases:
        raise RecoveryError(
            f"there is no base backup {base_id}", "list them: recyclic-backups base-backup --list"
        )
    chain = [bases[base_id]]
    while (parent := chain[-1].parent) is not None:
        if parent not in bases:
            raise DamagedData(
                f"the base backup {base_id} builds on {parent}, which is missing",
                "recover from another base backup, and take a full one now: recyclic-backups base-backup --full",
            )
        if bases[parent].start_lsn > chain[-1].start_lsn or len(chain) > len(bases):
            raise DamagedData(f"the base backup {chain[-1].base_id} builds on {parent}, which is newer")
        chain.append(bases[parent])
    return chain[::-1]


def root_of(bases: Mapping[str, BaseManifest], base_id: str) -> str:
    """The oldest base backup there is that ``base_id`` builds on: of a chain that is whole, its full one.

    ``bases`` are all that there are, by their ids.
    """
    seen = {base_id}
    while (parent := bases[base_id].parent) is not None and parent in bases and parent not in seen:
        base_id = parent
        seen.add(parent)
    return base_id
