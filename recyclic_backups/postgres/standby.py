"""What a hot standby says when it ends a query that keeps it from replaying, and what to do about it. Pure.

https://www.postgresql.org/docs/15/hot-standby.html#HOT-STANDBY-CONFLICT
"""

from __future__ import annotations

import re

# In the language of the server (lc_messages): PostgreSQL's own translations of "conflict with recovery".
CONFLICT = "conflict with recovery|conflit avec la restauration|Konflikt mit der Wiederherstellung"

PREVENTION = (
    "set hot_standby_feedback = on at the standby, or its max_standby_streaming_delay (max_standby_archive_delay) to "
    "longer than a backup takes, or back up the primary"
)

CONFLICT_HINT = f"try again; so that it does not happen again, {PREVENTION}"


def is_conflict(text: str) -> bool:
    """Whether a message is that of a recovery conflict."""
    return re.search(CONFLICT, text, re.IGNORECASE) is not None
