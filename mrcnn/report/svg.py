"""Small charts as inline SVG: lines, bars, counts on a grid. Text is escaped; colors are those of the page's style."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from html import escape

import numpy as np

WIDTH, HEIGHT = 420, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 10, 42


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


def histogram_chart(counts: np.ndarray, x_label: str, y_label: str, title: str, diagonal: bool = True) -> str:
    """Counts i[B, B] on a grid over the unit square, darker where there are more; the first index is x.

    Example:
        >>> histogram_chart(np.eye(2), "score", "IoU", "Score and IoU").count("<rect")
        3
    """
    parts = []
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
    return _figure(_frame(x_label, y_label) + "".join(parts), title)


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


def _frame(x_label: str, y_label: str) -> str:
    parts = [
        f'<rect x="{_x(0)}" y="{_y(1)}" width="{_x(1) - _x(0)}" height="{_y(0) - _y(1)}" class="frame" fill="none"/>'
    ]
    for value in (0, 0.2, 0.4, 0.6, 0.8, 1):
        if 0 < value < 1:
            parts.append(f'<path d="M{_x(value):.1f} {_y(0)}V{_y(1)}M{_x(0)} {_y(value):.1f}H{_x(1)}" class="grid"/>')
        parts.append(f'<text x="{_x(value):.1f}" y="{_y(0) + 16}" text-anchor="middle">{value:g}</text>')
        parts.append(f'<text x="{_x(0) - 7}" y="{_y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
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
