"""``completion``: what a shell offers is what the program takes."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from recyclic_backups.cli.main import main

# What the shell does when somebody presses TAB after these words.
_PRESS_TAB = """
source /dev/stdin
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_recyclic_backups
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["re"], {"restore", "recover", "release", "report"}),
        (["keys", "ro"], {"rotate"}),
        (["restore", "--t"], {"--table", "--to-server", "--trust-owners"}),
        (["restore", "l"], {"latest"}),
        (["backup", "--tier", ""], {"daily", "weekly", "monthly"}),
        (["-v", "list", "--ti"], {"--tier"}),
        (["drill", "s"], {"simple"}),
        (["--env-file", "/etc/hostna"], {"/etc/hostname"}),
        (["hold", "latest", "--reason", ""], {""}),
        (["completion", ""], {"bash", "zsh", "fish", "--env-file", "--help", "--quiet", "--verbose"}),
    ],
)
def test_bash_completes_commands_options_and_their_values(
    typed: list[str], offered: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Loss prevented: an option that somebody types from memory, and the usage message that answers."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("shells: there is no bash")
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    done = subprocess.run(
        [bash, "-c", _PRESS_TAB, "bash", "recyclic-backups", *typed],
        input=script,
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split("\n")[:-1]) == offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_get_the_same_words(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Loss prevented: a script in which half of the commands are missing."""
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for words in ("daily weekly monthly", "generate list sheet rotate seal-manifests", "--merge-into"):
        assert words in script
    assert "@" not in script.replace("$@", "").replace("(@)", "")
