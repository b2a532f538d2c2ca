"""Small charts as inline SVG: lines, bars, counts on a grid. Text is escaped; colors are those of the page's style."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from html import escape

import numpy as np

WIDTH, HEIGHT = 420, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 10, 42
_MOST_TICKS = 7

Ticks = Sequence[tuple[float, str]]
"""Places on an axis, from 0 to 1, and what is written there."""
_UNIT: Ticks = [(value, f"{value:g}") for value in (0, 0.2, 0.4, 0.6, 0.8, 1)]


@dataclasses.dataclass(frozen=True)
class Line:
    """One curve: its name in the legend, points in [0, 1] x [0, 1] (those that are not finite break it), and its style.

    `color` is that of the page's variable --c0 ... --c7, or "muted". `dots` marks the points.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    color: int | str = 0
    dashed: bool = False
    dots: bool = False


def line_chart(lines: Sequence[Line], x_label: str, y_label: str, title: str) -> str:
    """Curves over the unit square, with a legend beneath.

    Args:
        lines: drawn in their order.
        x_label, y_label: of the axes.
        title: read by screen readers and shown where the pointer rests.

    Example:
        >>> chart = line_chart([Line("a < b", [0, 1], [1, 0])], "recall", "precision", "Precision and recall")
        >>> chart[:4], "a &lt; b" in chart
        ('<fig', True)
    """
    parts = [_frame(x_label, y_label)]
    for line in lines:
        color = _color(line.color)
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        points = [(_x(x), _y(y)) for x, y in zip(line.x, line.y, strict=True) if np.isfinite(x) and np.isfinite(y)]
        if len(points) > 1:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"{dash}/>')
        if line.dots:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{color}"/>' for x, y in points]
    legend = "".join(
        f'<span><i style="background:{_color(line.color)}"></i>{escape(line.name)}</span>'
        for line in lines
        if line.name
    )
    return _figure("".join(parts), title, f'<figcaption class="legend">{legend}</figcaption>')


def histogram_chart(
    counts: np.ndarray, x_label: str, y_label: str, title: str, diagonal: bool = True, y_down: bool = False
) -> str:
    """Counts i[B, B] on a grid over the unit square, darker where there are more; the first index is x.

    Args:
        counts: of the cells.
        x_label, y_label: of the axes.
        title: read by screen readers and shown where the pointer rests.
        diagonal: draw it.
        y_down: the second index runs downwards, as the rows of an image do.

    Example:
        >>> histogram_chart(np.eye(2), "score", "IoU", "Score and IoU").count("<rect")
        3
    """
    parts = []
    if y_down:
        counts = counts[:, ::-1]
    size = len(counts)
    high = float(counts.max(initial=0)) or 1.0
    for i, k in zip(*np.nonzero(counts), strict=True):
        left, top = _x(i / size), _y((k + 1) / size)
        opacity = 0.12 + 0.88 * float(np.sqrt(counts[i, k] / high))
        parts.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{_x((i + 1) / size) - left:.2f}" '
            f'height="{_y(k / size) - top:.2f}" fill="var(--c0)" opacity="{opacity:.2f}">'
            f"<title>{int(counts[i, k])}</title></rect>"
        )
    if diagonal:
        parts.append(f'<line x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}" class="diagonal"/>')
    y_ticks = [(1 - place, text) for place, text in _UNIT] if y_down else _UNIT
    return _figure(_frame(x_label, y_label, y_ticks=y_ticks) + "".join(parts), title)


@dataclasses.dataclass(frozen=True)
class Columns:
    """How many there are in each bin, i[B], of one part of what is counted: its name, in the legend where there are
    several parts, and its color."""

    name: str
    counts: Sequence[int]
    color: int | str = 0


def column_chart(
    edges: Sequence[float],
    parts: Sequence[Columns],
    x_label: str,
    y_label: str,
    title: str,
    *,
    marks: Sequence[float] = (),
    marks_name: str = "",
    log: bool = False,
) -> str:
    """Columns over the bins of a histogram, parts on top of each other, with dashed lines at marks of the x axis.

    Args:
        edges: f[B + 1] of the bins, ascending.
        parts: drawn from the axis upwards.
        x_label, y_label: of the axes.
        title: read by screen readers and shown where the pointer rests.
        marks: values of x; those outside the edges are left out.
        marks_name: in the legend.
        log: a logarithmic x axis; the edges are then positive.

    Example:
        >>> chart = column_chart([1, 2, 4], [Columns("objects", [3, 1])], "pixels", "objects", "Sizes", log=True)
        >>> chart.count("<rect"), ">4<" in chart
        (3, True)
    """
    low, high = edges[0], edges[-1]

    def place(value: float) -> float:
        if log:
            return float(np.log2(value / low) / max(np.log2(high / low), 1e-9))
        return (value - low) / max(high - low, 1e-9)

    most = max([1, *np.sum([part.counts for part in parts], axis=0).tolist()]) if parts else 1
    x_ticks = [(place(v), f"{v:g}") for v in (_powers_of_two(low, high) if log else _round_numbers(low, high))]
    y_ticks = [(v / most, _short(v)) for v in _round_numbers(0, most) if v == int(v)]
    drawn = [_frame(x_label, y_label, x_ticks, y_ticks)]
    below = np.zeros(len(edges) - 1)
    for part in parts:
        for i in np.flatnonzero(part.counts).tolist():
            left, right = _x(place(edges[i])), _x(place(edges[i + 1]))
            top, bottom = _y((below[i] + part.counts[i]) / most), _y(below[i] / most)
            tip = f"{part.name}: {part.counts[i]}, {edges[i]:.4g} to {edges[i + 1]:.4g}"
            drawn.append(
                f'<rect x="{left:.1f}" y="{top:.1f}" width="{max(right - left - 0.6, 0.6):.2f}" '
                f'height="{bottom - top:.2f}" fill="{_color(part.color)}"><title>{escape(tip)}</title></rect>'
            )
        below += np.asarray(part.counts)
    drawn += [
        f'<path d="M{_x(place(mark)):.1f} {_y(0)}V{_y(1)}" class="mark"/>' for mark in marks if low <= mark <= high
    ]
    names = []
    if len(parts) > 1:
        names = [f'<span><i style="background:{_color(p.color)}"></i>{escape(p.name)}</span>' for p in parts]
    if marks_name:
        names.append(f'<span><i class="mark"></i>{escape(marks_name)}</span>')
    return _figure("".join(drawn), title, f'<figcaption class="legend">{"".join(names)}</figcaption>')


def bar_chart(rows: Sequence[tuple[str, float, str, int | str]], title: str) -> str:
    """Horizontal bars: (label, value, text at its end, color); values that are not finite have none.

    Example:
        >>> "0.25" in bar_chart([("missed", 0.25, "0.25", 1)], "Errors")
        True
    """
    left, right, step = 116, 74, 30
    finite = [value for _, value, _, _ in rows if np.isfinite(value)]
    high = max([*finite, 1e-9])
    scale = (WIDTH - left - right) / high
    parts = []
    for i, (label, value, text, color) in enumerate(rows):
        top = 8 + i * step
        width = max(0.0, value) * scale if np.isfinite(value) else 0.0
        parts.append(f'<text x="{left - 8}" y="{top + 15}" text-anchor="end">{escape(label)}</text>')
        parts.append(
            f'<rect x="{left}" y="{top}" width="{max(width, 1):.1f}" height="20" rx="2" fill="{_color(color)}"/>'
        )
        parts.append(f'<text x="{left + width + 6:.1f}" y="{top + 15}">{escape(text)}</text>')
    return _figure("".join(parts), title, height=16 + len(rows) * step)


def _color(color: int | str) -> str:
    return "var(--muted)" if isinstance(color, str) else f"var(--c{color % 8})"


def _x(value: float) -> float:
    return _LEFT + value * (WIDTH - _LEFT - _RIGHT)


def _y(value: float) -> float:
    return HEIGHT - _BOTTOM - value * (HEIGHT - _TOP - _BOTTOM)


def _powers_of_two(low: float, high: float) -> list[float]:
    exponents = np.arange(np.ceil(np.log2(low) - 1e-9), np.floor(np.log2(high) + 1e-9) + 1)
    return (2.0 ** exponents[:: max(1, -(-len(exponents) // _MOST_TICKS))]).tolist()


def _short(value: float) -> str:
    """A whole number that fits beside an axis: 3000 is 3k."""
    for least, letter in ((1e6, "M"), (1e3, "k")):
        if value >= least:
            return f"{value / least:g}{letter}"
    return f"{value:g}"


def _round_numbers(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, a few of them."""
    raw = max(high - low, 1e-9) / _MOST_TICKS
    power = 10.0 ** np.floor(np.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * (1 - 1e-9))
    return [float(f"{k * step:.6g}") for k in range(int(np.ceil(low / step - 1e-9)), int(high / step + 1e-9) + 1)]


def _frame(x_label: str, y_label: str, x_ticks: Ticks = _UNIT, y_ticks: Ticks = _UNIT) -> str:
    parts = [
        f'<rect x="{_x(0)}" y="{_y(1)}" width="{_x(1) - _x(0)}" height="{_y(0) - _y(1)}" class="frame" fill="none"/>'
    ]
    for at, shown in x_ticks:
        if 0 < at < 1:
            parts.append(f'<path d="M{_x(at):.1f} {_y(0)}V{_y(1)}" class="grid"/>')
        parts.append(f'<text x="{_x(at):.1f}" y="{_y(0) + 16}" text-anchor="middle">{shown}</text>')
    for at, shown in y_ticks:
        if 0 < at < 1:
            parts.append(f'<path d="M{_x(0)} {_y(at):.1f}H{_x(1)}" class="grid"/>')
        parts.append(f'<text x="{_x(0) - 7}" y="{_y(at) + 4:.1f}" text-anchor="end">{shown}</text>')
    middle = (_y(0) + _y(1)) / 2
    parts.append(f'<text x="{(_x(0) + _x(1)) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>')
    parts.append(
        f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">{escape(y_label)}</text>'
    )
    return "".join(parts)


def _figure(content: str, title: str, caption: str = "", height: int = HEIGHT) -> str:
    return (
        f'<figure class="chart"><svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{content}</svg>{caption}</figure>"
    )
