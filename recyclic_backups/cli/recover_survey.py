"""What ``recover`` and ``restore --at-time`` read before they plan."""

from __future__ import annotations

import tempfile
from pathlib import Path

from recyclic_backups.archive.status import which_server
from recyclic_backups.cli import render
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.recovery.survey import Survey, survey


def surveyed(call: Invocation) -> Survey:
    """The WAL and the base backups of the server that is meant; what is damaged has been said."""
    system_identifier = which_server(call.repository, call.options.server, None)
    found = survey(call.repository, system_identifier, now=render.now())
    for damage in found.damage:
        render.warn(damage)
    return found


def scratch_of(call: Invocation) -> Path:
    """Where private files go."""
    return call.settings.scratch or Path(tempfile.gettempdir())
