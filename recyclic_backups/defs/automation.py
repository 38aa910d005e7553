"""How every job, schedule and sensor of a database is made: its name, its tags, its memory, and whether it is on."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

import dagster as dg

from recyclic_backups.backup_calendar import Calendar
from recyclic_backups.catalog.timestamps import from_text
from recyclic_backups.defs.database import Database
from recyclic_backups.defs.runs import MAX_RUNTIME_TAG, sentence
from recyclic_backups.errors import BackupError, DamagedData

Job: TypeAlias = "dg.UnresolvedAssetJobDefinition"

_CURSOR_VERSION = 1

SHOWN_ONLY = (
    "This evaluation is no tick of the daemon's, it was asked for: nothing was looked at, sent or written."
)

# Dagster 1.13: the daemon gives an evaluation the id of its tick, an integer, as the last part of its log key
# (SensorLaunchContext.log_key). Without a tick GraphQL gives none (GrapheneDryRunInstigationTick, which lets no caller
# say otherwise), and SensorEvaluationContext makes one that ends with the second.
_A_SECOND = re.compile(r"\d{8}_\d{6}")


def scheduled(
    database: Database,
    name: str,
    selection: dg.AssetSelection,
    *,
    does: str,
    cron: str,
    when: str,
    limit_seconds: float,
    priority: int,
    tags: Mapping[str, str] | None = None,
    request: Callable[[dg.ScheduleEvaluationContext], dg.RunRequest | dg.SkipReason] | None = None,
) -> tuple[Job, dg.ScheduleDefinition]:
    """``<name>_job``, which ``does`` something, and ``<name>_schedule``, which says ``when``.

    A run that is there after ``limit_seconds`` is taken for hung; Dagster ends it only where its run monitoring is on,
    as in our ``dagster.yaml``. The higher ``priority`` leaves the queue first. Without ``request`` each tick asks for
    a run without a partition; a tick that is repeated asks for the same run. The schedule is on from the beginning in
    production, elsewhere when somebody switches it on.
    """
    job = dg.define_asset_job(
        database.named(f"{name}_job"),
        selection=selection,
        description=does,
        metadata={"report": database.report},
        tags={
            MAX_RUNTIME_TAG: str(int(limit_seconds)),
            "dagster/priority": str(priority),
            **database.tags,
            **(tags or {}),
        },
    )

    @dg.schedule(
        job=job,
        name=database.named(f"{name}_schedule"),
        cron_schedule=cron,
        execution_timezone=database.settings.calendar.timezone.key,
        default_status=dg.DefaultScheduleStatus[_status(database)],
        description=when,
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if request is not None:
            return request(context)
        return dg.RunRequest(run_key=context.scheduled_execution_time.isoformat())

    return job, schedule


def _status(database: Database) -> str:
    return "RUNNING" if database.settings.environment == "production" else "STOPPED"


def cron_after(calendar: Calendar, minutes: int) -> str:
    """The cron fields of every day, so many minutes after the daily backup by the clock on the wall."""
    hour, minute = divmod((calendar.hour * 60 + calendar.minute + minutes) % (24 * 60), 60)
    return f"{minute} {hour} * * *"


def cursor_of(**values: Any) -> str:
    """What a sensor remembers, as Dagster keeps it."""
    return json.dumps({"version": _CURSOR_VERSION, **values})


def remembered(cursor: str | None) -> dict[str, Any]:
    """What a cursor says; nothing if it is of another version or not ours. It can always be made anew."""
    try:
        document = json.loads(cursor or "")
    except ValueError:
        return {}
    known = isinstance(document, dict) and document.get("version", _CURSOR_VERSION) == _CURSOR_VERSION
    return document if known else {}


def moment_in(document: Mapping[str, Any], name: str) -> datetime | None:
    """A moment in what a cursor says, aware UTC; None if none is there."""
    try:
        return from_text(document[name])
    except (TypeError, KeyError, ValueError, AttributeError, DamagedData):
        return None


def sensor_that(
    look: Callable[[dg.SensorEvaluationContext, Database], dg.SensorResult],
    database: Database,
    name: str,
    *,
    description: str,
    interval_seconds: int = 60,
    jobs: Sequence[Job] | None = None,
    acts_itself: bool = False,
) -> dg.SensorDefinition:
    """A sensor that looks, and starts ``jobs``; on from the beginning in production, elsewhere when switched on.

    One that ``acts_itself`` sends or writes while it looks; it does so in ticks of the daemon's only, and not when
    somebody has Dagster evaluate it to see the result.
    A tick that meets a BackupError fails with our sentence and its hint, and no traceback but the sensor's own.
    """

    @dg.sensor(
        name=database.named(name),
        jobs=jobs,
        minimum_interval_seconds=interval_seconds,
        default_status=dg.DefaultSensorStatus[_status(database)],
        description=description,
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        if acts_itself and is_shown_only(context):
            return dg.SensorResult(skip_reason=dg.SkipReason(SHOWN_ONLY), cursor=context.cursor)
        try:
            with database.looking():
                return look(context, database)
        except BackupError as error:
            raise type(error)(sentence(error)) from None

    return sensor


def is_shown_only(context: dg.SensorEvaluationContext) -> bool:
    """Whether it is known that no tick stands behind this evaluation: somebody only wants to see its result.

    Dagster evaluates a sensor beside its ticks as well: for the query ``nextTick { evaluationResult }``, which whoever
    may look at the pages may send, and for the button "Test sensor". It does nothing with such an answer, but what the
    sensor does itself would be done. An evaluation that looks otherwise is taken for a tick: should another Dagster
    make other keys, alerts go out as ever.
    """
    key = context.log_key
    return key is not None and len(key) > 0 and _A_SECOND.fullmatch(key[-1]) is not None
