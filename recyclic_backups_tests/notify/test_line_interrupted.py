"""Lines: whoever is interrupted while waiting leaves nobody talking."""

from __future__ import annotations

import socket
import threading

import pytest

from recyclic_backups.notify.line import CutOff, Line, talk_for


@pytest.mark.parametrize("where", ["start", "join"])
def test_who_is_interrupted_leaves_a_line_on_which_nothing_is_said_any_more(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss prevented: a message sent by a thread that nobody hears of, and sent again by the next process."""
    go_on, raised = threading.Event(), threading.Event()
    begun = threading.Event()
    real = getattr(threading.Thread, where)

    def interrupted(thread: threading.Thread, *given: float) -> None:
        if thread.name != "line":
            real(thread, *given)
            return
        if where == "start":
            real(thread)
        begun.wait(60)
        raise KeyboardInterrupt

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def late(line: Line) -> None:
            begun.set()
            go_on.wait(60)
            try:
                line.connect(listener.getsockname()).close()
            except CutOff:
                raised.set()
                raise

        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, where, interrupted)
            with pytest.raises(KeyboardInterrupt):
                talk_for(60, late)
        go_on.set()
        assert raised.wait(60)
