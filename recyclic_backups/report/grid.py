"""The grid of the coverage as HTML: a table whose cells have a sign, words, and last of all a colour. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from recyclic_backups.languages import Locale, column
from recyclic_backups.report.coverage import Cell, Coverage, State
from recyclic_backups.report.markup import plain
from recyclic_backups.report.words import say, say_day, say_month, say_tier

SIGNS: Mapping[State, str] = {
    State.BEFORE: "",
    State.COMING: "·",
    State.MISSED: "○",
    State.OVERDUE: "…",
    State.MISSING: "✕",
    State.DAMAGED: "!",
    State.EXPIRED: "–",
    State.PRESENT: "?",
    State.VERIFIED: "✓",
    State.PROVEN: "★",
}

_LETTERS = {"late": ("L", "T"), "held": ("H", "R")}
_SUNDAY = 6
_NAMED_MONTH_DAYS = 4  # a name needs so many columns


def grid(found: Coverage, locale: Locale) -> str:
    """The table, and what its signs mean."""
    rows = "".join(
        f'<tr><th scope="row" class="tier">{plain(say_tier(tier, locale))}</th>'
        f"{''.join(_cell(cell, locale) for cell in cells)}</tr>"
        for tier, cells in found.rows
    )
    caption = _say("coverage of", locale, days=len(found.days))
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}"><table class="grid">'
        f'<caption class="hidden">{caption}</caption><thead>{_heads(found, locale)}</thead><tbody>{rows}</tbody>'
        f'</table></div><ul class="legend" aria-label="{_say("legend", locale)}">{_legend(locale)}</ul>'
    )


def _legend(locale: Locale) -> str:
    signs = [
        f'<li><span class="key {state.value}" aria-hidden="true">{SIGNS[state]}</span>'
        f"{_say(state.value, locale)}</li>"
        for state in reversed(State)
    ]
    letters = [
        f'<li><span class="key verified" aria-hidden="true"><small>{_letter(flag, locale)}</small></span>'
        f"{_say(flag, locale)}</li>"
        for flag in _LETTERS
    ]
    return "".join([*signs, *letters])


def _heads(found: Coverage, locale: Locale) -> str:
    """Months over days."""
    months: list[tuple[str, int]] = []
    for day in found.days:
        name = say_month(day, locale)
        if months and months[-1][0] == name:
            months[-1] = (name, months[-1][1] + 1)
        else:
            months.append((name, 1))
    above = "".join(
        f'<th scope="colgroup" class="month" colspan="{width}">'
        f"{f'<span>{plain(name)}</span>' if width >= _NAMED_MONTH_DAYS else ''}</th>"
        for name, width in months
    )
    below = "".join(
        f'<th scope="col"{" class=sunday" if day.weekday() == _SUNDAY else ""} '
        f'title="{plain(say_day(day, locale))}">{day.day}</th>'
        for day in found.days
    )
    return (
        f'<tr><td class="corner"></td>{above}</tr>'
        f'<tr><th scope="col" class="tier"><span class="hidden">{_say("tier", locale)}</span></th>{below}</tr>'
    )


def _cell(cell: Cell, locale: Locale) -> str:
    """One partition; what it has is in its title too."""
    flags = [name for name, there in (("late", cell.late), ("held", cell.held)) if there]
    words = ", ".join(_say(name, locale) for name in (cell.state.value, *flags))
    letters = "".join(_letter(flag, locale) for flag in flags)
    corner = f'<small aria-hidden="true">{letters}</small>' if letters else ""
    about = f"{plain(cell.partition)}: {words}" + (f" · {plain(cell.backup_id)}" if cell.backup_id else "")
    span = f' colspan="{cell.days}"' if cell.days > 1 else ""
    return (
        f'<td class="cell {cell.state.value}"{span} title="{about}">'
        f'<span class="sign" aria-hidden="true">{SIGNS[cell.state]}</span><span class="hidden">{words}</span>'
        f"{corner}</td>"
    )


def _letter(flag: str, locale: Locale) -> str:
    """L for late, H for held; in French T and R."""
    return _LETTERS[flag][column(locale)]


def _say(name: str, locale: Locale, **values: object) -> str:
    return plain(say(name, locale, **values))
