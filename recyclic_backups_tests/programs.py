"""PostgreSQL's programs, one of them exchanged."""

from __future__ import annotations

from pathlib import Path


def exchange(real: Path, directory: Path, name: str, script: str) -> Path:
    """A new directory of programs: those of ``real``, but for one, which is a shell script.

    To what a version, or a schema alone, is asked for, the real one answers: nobody would use it else.
    """
    programs = directory / "programs"
    programs.mkdir()
    for program in real.iterdir():
        (programs / program.name).symlink_to(program)
    exchanged = programs / name
    exchanged.unlink()
    asked = f'case "$*" in *--version*|*--schema-only*) exec "{real}/{name}" "$@";; esac'
    exchanged.write_text(f"#!/bin/sh\n{asked}\n{script}\n")
    exchanged.chmod(0o755)
    return programs
