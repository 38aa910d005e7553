"""Run a command under guard: a verified checkpoint first, the probes afterwards, and back if it went wrong."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from recyclic_backups.catalog.catalog import Backup
from recyclic_backups.catalog.manifest import Checkpoint
from recyclic_backups.catalog.repository import Repository
from recyclic_backups.drill.probes import Probe, load_probes
from recyclic_backups.dump.back_up import take_checkpoint
from recyclic_backups.errors import BackupError, DatabaseError, VerdictNegative
from recyclic_backups.guard.command import NOT_FOUND, cannot_run, run_command
from recyclic_backups.guard.counted import CountedServer
from recyclic_backups.guard.live import Findings, ask_live
from recyclic_backups.guard.plan import GuardPlan
from recyclic_backups.guard.report import HEALS_NOTHING, GuardReport, Return, go_back
from recyclic_backups.guard.session_count import Names
from recyclic_backups.guard.watch import Watch, watching
from recyclic_backups.postgres.server import Server
from recyclic_backups.progress import SILENT, Progress
from recyclic_backups.restore.restore import restore


def guard(
    argv: Sequence[str],
    repository: Repository,
    server: Server,
    plan: GuardPlan,
    checkpoint: Checkpoint,
    *,
    auto_restore: bool,
    clock: Callable[[], datetime],
    say: Callable[[str], None],
    progress: Progress = SILENT,
) -> GuardReport:
    """Run ``argv`` under guard of the repository's database.

    With ``auto_restore`` a failure leads back to the checkpoint, but only if it is certain that nobody else worked in
    the database meanwhile. ``say`` is told, in sentences, what is under way. Raises what taking the checkpoint and
    asking the probes before it raise: then the command was not run.
    """
    program = Path(argv[0]).name
    identifier = f"recyclic_guard_{secrets.token_hex(4)}"
    names = Names(command=identifier, own=f"{identifier}_own")
    code = cannot_run(argv[0])
    if code is not None:
        why = "was not found" if code == NOT_FOUND else "cannot be executed"
        reasons = (f"{program} {why}; nothing was run",)
        return GuardReport(program, identifier, checkpoint, code, "command", reasons)
    probes = load_probes(plan.probes)
    with ExitStack() as stack:
        watch = stack.enter_context(watching(server, repository.database, names)) if auto_restore else None
        ours = CountedServer.of(server, repository.database, names.own)
        before = ask_live(ours, repository.database, probes, clock())
        taken = take_checkpoint(ours, repository, checkpoint, plan.backup, clock=clock, progress=progress)
        progress.stage("done")
        say(f"checkpoint {taken.backup.backup_id} is taken and verified; running {program}")
        try:
            run = _Guarded(argv, program, repository.database, ours, names, checkpoint, clock)
            report = run.outcome(taken.backup, probes, before)
            if watch is not None and report.failed:
                objections = _objections(watch, ours, report)
                stack.close()
                if not objections:
                    say(f"{report.reasons[0]}; nobody else was there: going back to {taken.backup.backup_id}")
                returned = _back(repository, taken.backup, server, plan, objections, clock)
                report = replace(report, returned=returned)
        except BaseException:
            say(f"to go back to before the command: {go_back(taken.backup.backup_id)}")
            raise
    return report


@dataclass(frozen=True, slots=True)
class _Guarded:
    """The command, from its start to the last probe."""

    argv: Sequence[str]
    program: str
    database: str
    server: CountedServer
    names: Names
    checkpoint: Checkpoint
    clock: Callable[[], datetime]

    def outcome(self, backup: Backup, probes: Sequence[Probe], before: Findings) -> GuardReport:
        started = time.monotonic()
        ended = run_command(self.argv, self.names.command)
        code = ended if ended >= 0 else 128 - ended
        report = GuardReport(
            program=self.program,
            application_name=self.names.command,
            checkpoint=self.checkpoint,
            exit_code=code,
            failed="command" if code else None,
            reasons=(_ending(self.program, ended),) if code else (),
            backup_id=backup.backup_id,
            as_of=backup.as_of,
            command_seconds=time.monotonic() - started,
            before=before,
        )
        if code:
            return report
        try:
            after = ask_live(self.server, self.database, probes, self.clock(), before=before)
        except DatabaseError as error:
            reasons = (f"the probes could not be asked: {error.message}",)
            return replace(report, exit_code=error.exit_code, failed="probes", reasons=reasons)
        if not after.failed:
            return replace(report, after=after)
        return replace(
            report,
            after=after,
            exit_code=VerdictNegative.exit_code,
            failed="probes",
            reasons=tuple(_sentences(before, after)),
        )


def _ending(program: str, code: int) -> str:
    # 255 is ssh's way of failing and a script's exit(-1): only what was ended by a signal is said to be.
    return f"{program} was ended by signal {-code}" if code < 0 else f"{program} ended with exit code {code}"


def _sentences(before: Findings, after: Findings) -> list[str]:
    already = {answer.probe for answer in before.failed}
    return [
        f"probe {answer.probe!r}: {answer.reason}"
        + (" (it failed before the command too)" if answer.probe in already else "")
        for answer in after.failed
    ]


def _objections(watch: Watch, ours: CountedServer, report: GuardReport) -> tuple[str, ...]:
    """Why the guard does not go back by itself; empty if it does."""
    if report.failed_before:
        return (HEALS_NOTHING,)
    return watch.objections(ours.tally)


def _back(
    repository: Repository,
    backup: Backup,
    server: Server,
    plan: GuardPlan,
    objections: tuple[str, ...],
    clock: Callable[[], datetime],
) -> Return:
    """Restore the checkpoint in the place of the database, unless something is against it. Raises no BackupError."""
    if objections:
        return Return(objections)
    try:
        return Return(
            restored=restore(
                repository, backup, server, repository.database, plan.restore, clock=clock, replace=True
            )
        )
    except BackupError as error:
        return Return(error=error.message)
