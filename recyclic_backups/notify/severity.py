"""How bad a problem is. Pure, and a module of its own: the settings need it, and nothing else of all this."""

from __future__ import annotations

from enum import StrEnum


class Severity(StrEnum):
    """How bad a problem is. In this order: a critical one is worse than a warning."""

    WARNING = "warning"
    CRITICAL = "critical"

    def reaches(self, minimum: Severity) -> bool:
        """Whether it is at least as bad as that."""
        return self is Severity.CRITICAL or minimum is Severity.WARNING
