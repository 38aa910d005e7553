"""Charts: a line over time as inline SVG that takes its colours from the page. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from recyclic_backups.report.markup import plain

_WIDTH, _HEIGHT = 320.0, 120.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 6.0, 6.0, 12.0, 18.0
_LETTER = 6.2  # of the labels, about as wide as that
_GAP = 7.0  # between a label and the curve
_APART = 14.0  # labels nearer to each other than this would touch


@dataclass(frozen=True, slots=True)
class Point:
    """A value at a moment; ``note`` is shown when somebody points at it."""

    at: datetime
    value: float
    note: str = ""
    is_bad: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """A line over a scale from zero. ``limit`` is a dashed one, drawn where it is near enough to be of interest."""

    title: str
    description: str
    points: tuple[Point, ...]
    text: Callable[[float], str]
    date: Callable[[datetime], str]
    limit: float | None = None
    limit_text: str = ""

    @property
    def newest(self) -> str:
        """Its last value."""
        return self.text(max(self.points, key=lambda point: point.at).value)


def svg(chart: Chart) -> str:
    """The drawing, with its description for whoever does not see it. Its scale is labelled at zero and at both ends."""
    points = sorted(chart.points, key=lambda point: point.at)
    values = [point.value for point in points]
    low, high = _range(chart, values)
    begin, end = points[0].at, points[-1].at
    seconds = (end - begin).total_seconds()
    ground = _HEIGHT - _BOTTOM

    def y(value: float) -> float:
        return ground - (value - low) / (high - low) * (ground - _TOP)

    labels = _labels(chart, values, y)
    left = _LEFT + _GAP + _LETTER * max(len(text) for _, text in labels)

    def x(moment: datetime) -> float:
        part = (moment - begin).total_seconds() / seconds if seconds else 0.5
        return left + part * (_WIDTH - left - _RIGHT)

    line = " ".join(f"{x(point.at):.1f},{y(point.value):.1f}" for point in points)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img" aria-label="{plain(chart.description)}">'
    ]
    for at, text in labels:
        parts.append(_across("axis", left, at))
        parts.append(f'<text x="{left - _GAP:.1f}" y="{at + 3.5:.1f}" text-anchor="end">{plain(text)}</text>')
    if len(points) > 1:
        area = f"{x(begin):.1f},{y(0):.1f} {line} {x(end):.1f},{y(0):.1f}"
        parts.append(f'<polygon class="area" points="{area}"/>')
        parts.append(f'<polyline class="line" points="{line}"/>')
    if chart.limit is not None and low <= chart.limit <= high:
        at = y(chart.limit)
        parts.append(_across("limit", left, at))
        # On the side of the line where the curve is not.
        below = at + 11 if chart.limit < min(values) else at - 4
        parts.append(
            f'<text class="limit" x="{left + 2:.1f}" y="{below:.1f}">{plain(chart.limit_text)}</text>'
        )
    parts += [_dot(point, x(point.at), y(point.value), point is points[-1]) for point in points]
    parts.append(f'<text x="{left:.1f}" y="{_HEIGHT - 4}">{plain(chart.date(begin))}</text>')
    if seconds:
        parts.append(
            f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 4}" text-anchor="end">{plain(chart.date(end))}</text>'
        )
    return "".join([*parts, "</svg>"])


def _across(look: str, left: float, y: float) -> str:
    return f'<line class="{look}" x1="{left:.1f}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'


def _labels(chart: Chart, values: Sequence[float], y: Callable[[float], float]) -> list[tuple[float, str]]:
    """Where the scale says what: zero, the highest value, and the lowest if there is room between."""
    found = [(y(0.0), "0")]
    for value in (max(values), min(values)):
        if all(abs(y(value) - at) >= _APART for at, _ in found):
            found.append((y(value), chart.text(value)))
    return found


def _dot(point: Point, x: float, y: float, is_last: bool) -> str:
    title = f"<title>{plain(point.note)}</title>" if point.note else ""
    if point.is_bad:  # another shape, not only another colour
        return f'<path class="bad" d="M{x - 3.5:.1f} {y - 3.5:.1f}l7 7m0 -7l-7 7">{title}</path>'
    look, radius = ("last", 3.5) if is_last else ("dot", 1.8)
    return f'<circle class="{look}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}">{title}</circle>'


def _range(chart: Chart, values: Sequence[float]) -> tuple[float, float]:
    """What the drawing spans: from zero, so that a small fall looks small; up to the limit if that is not far away."""
    low, high = min(0.0, *values), max(0.0, *values)
    if chart.limit is not None and chart.limit <= 2 * high:
        high = max(high, chart.limit)
    return low, high * 1.08 or 1.0
