"""The nastiest names and reasons that a database, a storage or an environment can hold, for tests of every medium."""

from __future__ import annotations

NASTY = (
    "\\! touch /tmp/owned",
    "a\\b\\",
    "two\nlines\r\nand\tmore",
    "\x1b[2J\x1b]0;title\x07\x9b31m",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "[click](javascript:alert(1))",
    "![](http://evil.example/pixel.png)",
    "<javascript:alert(1)>",
    "[x]: javascript:alert(1)",
    "`code` and ``` fences",
    "a | b | c",
    "# heading",
    "- item",
    "1. item",
    "> quotation",
    "***bold*** __bold__ ~~gone~~",
    "&lt;b&gt; &#x202e;",
    "\u202etxt.exe\u202c \u2066x\u2069 \u200f",
    "line\u2028separator\u2029paragraph\x85next",
    "{0} {database} %s %(x)s ${HOME} $(id)",
    "[bold]rich[/bold] [/]",
    "a byte that is no UTF-8: \udce9",
    "{{ $labels.database }} {{ printf }}",
)
"""Each is a whole value; a test puts them wherever somebody else's words may stand."""

MOVING = "\x1b\x9b\x07\r\u202e\u2066\u2028\x85"
"""Characters of which none may be in what is shown."""
