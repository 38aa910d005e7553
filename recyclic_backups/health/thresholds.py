"""Thresholds: from where on health warns, and from where on it is critical. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What the settings ask: ages in seconds, free space in bytes, and whether backups have to be encrypted."""

    age_warning_seconds: float = 6 * 3600.0
    age_critical_seconds: float = 25 * 3600.0
    disk_warning_bytes: int = 5 * 10**9
    disk_critical_bytes: int = 10**9
    encryption: bool = True
