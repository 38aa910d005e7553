"""Whom on this machine we trust with files that we read, run or write: ourselves, root, and whoever became root."""

from __future__ import annotations

import os
import stat


def trusted_users(*, behind_sudo: bool) -> frozenset[int]:
    """The ids of the users we trust; with ``behind_sudo`` also whoever became root to start this process."""
    trusted = {0, os.geteuid()}
    if behind_sudo and os.geteuid() == 0 and (behind := os.environ.get("SUDO_UID", "")).isdecimal():
        trusted.add(int(behind))
    return frozenset(trusted)


def lets_others_write(found: os.stat_result) -> bool:
    """Whether the mode of what was found lets users write who are neither its owner nor of our own group."""
    return bool(found.st_mode & (stat.S_IWOTH | (0 if found.st_gid == os.getegid() else stat.S_IWGRP)))
