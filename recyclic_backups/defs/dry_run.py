"""Is this evaluation of a sensor a tick, or does somebody only want to see what one would say?

Dagster evaluates a sensor beside its ticks as well: for the query ``nextTick { evaluationResult }``, which whoever may
look at the pages may send, and for the button "Test sensor". Nothing is done with what such an evaluation answers, but
what the sensor does itself would be done.
"""

from __future__ import annotations

import re

import dagster as dg

SHOWN_ONLY = (
    "This evaluation is no tick of the daemon's, it was asked for: nothing was looked at, sent or written."
)

# Dagster 1.13: the daemon gives an evaluation the id of its tick, an integer, as the last part of its log key
# (SensorLaunchContext.log_key). Without a tick GraphQL gives none (GrapheneDryRunInstigationTick, which lets no caller
# say otherwise), and SensorEvaluationContext makes one that ends with the second.
_A_SECOND = re.compile(r"\d{8}_\d{6}")


def is_shown_only(context: dg.SensorEvaluationContext) -> bool:
    """Whether it is known that no tick stands behind this evaluation.

    What looks otherwise is taken for a tick: should another Dagster make other keys, alerts go out as ever.
    """
    key = context.log_key
    return key is not None and len(key) > 0 and _A_SECOND.fullmatch(key[-1]) is not None
