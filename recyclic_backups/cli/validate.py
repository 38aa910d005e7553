"""``validate``: would a backup work tonight?"""

from __future__ import annotations

import argparse

from recyclic_backups.cli import render
from recyclic_backups.cli.arguments import add_json
from recyclic_backups.cli.invocation import Invocation
from recyclic_backups.validation.validate import validate


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what it takes."""
    add_json(command)


def run(call: Invocation) -> int:
    """Run the command; its exit code is that of the first error found."""
    findings = []
    for each in validate(lambda: call.settings, render.now()):
        findings.append(each)
        if not call.json:
            render.line(f"{each.status:<8} {each.check:<11} {each.message}")
            if each.hint and each.status != "ok":
                render.line(f"{'':<20} hint: {each.hint}")
    call.report({"checks": [each.to_json() for each in findings]}, lambda: None)
    return next((each.exit_code for each in findings if each.status == "error"), 0)
