"""Charts: a line over time as inline SVG that takes its colours from the page. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

_WIDTH, _HEIGHT = 320.0, 120.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 6.0, 6.0, 10.0, 18.0


@dataclass(frozen=True, slots=True)
class Point:
    """A value at a moment; ``note`` is shown when somebody points at it."""

    at: datetime
    value: float
    note: str = ""
    is_bad: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """A line. ``limit`` is drawn as a dashed one where it is near enough to be of interest."""

    title: str
    description: str
    points: tuple[Point, ...]
    text: Callable[[float], str]
    date: Callable[[datetime], str]
    limit: float | None = None
    limit_text: str = ""
    from_zero: bool = True


def svg(chart: Chart) -> str:
    """The drawing, with its description for whoever does not see it. Of one point it is a dot."""
    points = sorted(chart.points, key=lambda point: point.at)
    low, high = _range(chart, [point.value for point in points])
    begin, end = points[0].at, points[-1].at
    seconds = (end - begin).total_seconds()

    def x(moment: datetime) -> float:
        part = (moment - begin).total_seconds() / seconds if seconds else 0.5
        return _LEFT + part * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        part = (value - low) / (high - low) if high > low else 0.5
        return _HEIGHT - _BOTTOM - part * (_HEIGHT - _TOP - _BOTTOM)

    line = " ".join(f"{x(point.at):.1f},{y(point.value):.1f}" for point in points)
    ground = _HEIGHT - _BOTTOM
    parts = [
        f'<svg viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img" aria-label="{escape(chart.description)}">',
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{ground}" y2="{ground}"/>',
    ]
    if len(points) > 1:
        area = f"{x(begin):.1f},{ground} {line} {x(end):.1f},{ground}"
        parts.append(f'<polygon class="area" points="{area}"/>')
        parts.append(f'<polyline class="line" points="{line}"/>')
    if chart.limit is not None and low <= chart.limit <= high:
        at = y(chart.limit)
        parts.append(f'<line class="limit" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        above = at - 3 if at > _TOP + 8 else at + 9
        parts.append(f'<text class="limit" x="{_LEFT}" y="{above:.1f}">{escape(chart.limit_text)}</text>')
    parts += [_dot(point, x(point.at), y(point.value), point is points[-1]) for point in points]
    parts.append(f'<text x="{_LEFT}" y="{_HEIGHT - 4}">{escape(chart.date(begin))}</text>')
    if seconds:
        parts.append(
            f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 4}" text-anchor="end">{escape(chart.date(end))}</text>'
        )
    return "".join([*parts, "</svg>"])


def _dot(point: Point, x: float, y: float, is_last: bool) -> str:
    title = f"<title>{escape(point.note)}</title>" if point.note else ""
    if point.is_bad:  # another shape, not only another colour
        return f'<path class="bad" d="M{x - 3.5:.1f} {y - 3.5:.1f}l7 7m0 -7l-7 7">{title}</path>'
    look, radius = ("last", 3.5) if is_last else ("dot", 1.8)
    return f'<circle class="{look}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}">{title}</circle>'


def _range(chart: Chart, values: Sequence[float]) -> tuple[float, float]:
    """What the drawing spans: from zero unless told otherwise; up to the limit if that is not far away."""
    low, high = min(values), max(values)
    if chart.limit is not None and (chart.limit <= 2 * high or not chart.from_zero):
        low, high = min(low, chart.limit), max(high, chart.limit)
    if chart.from_zero:
        return 0.0, high * 1.08 or 1.0
    margin = (high - low) * 0.15 or max(abs(high) * 0.02, 0.5)
    return low - margin, high + margin
