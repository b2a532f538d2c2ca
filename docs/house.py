"""Draw docs/images/house.svg from the imports: the layers of pyproject.toml, their packages, what imports what.

`make house` runs it. The same source gives the same file, byte for byte. An arrow is left out where longer ones say
it already (a package that imports `modeling` reaches `ops` through it), so that what is left can be read.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import grimp
from importlinter import api

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "mrcnn"
OUT = ROOT / "docs/images/house.svg"

WIDTH = 1240  # pixels
MARGIN = 24
LABEL = 150  # the column that names the layers
ROW = 96  # from one layer to the next, arrows included
BOX = 52  # the height of a box
GAP = 22  # the least distance between two boxes
CHAR = 7.4  # the width of one character of the names
PER_LINE = 0.055  # pixels of width for each line of code, where every layer fits so
ASIDE = 70  # how far a layer's only box stands from the middle, so that arrows that pass it are seen
# Of each layer in turn: the boxes, and the arrows that leave them.
COLORS = (("#dbe9f6", "#2f6ca8"), ("#e4f1e1", "#3d7f38"), ("#fdeedb", "#b06a14"), ("#efe5f5", "#7a4a9c"))

Edges = dict[str, set[str]]


@dataclass(frozen=True)
class Box:
    """A top-level module or package, where it is drawn."""

    name: str
    lines: int
    left: float
    top: float
    width: float

    @property
    def center(self) -> float:
        return self.left + self.width / 2


def read_layers(pyproject: Path) -> list[list[str]]:
    """The layers of the import contract, highest first; the modules that no layer holds come last."""
    contracts = api.read_configuration(str(pyproject))["contracts_options"]
    contract = next(options for options in contracts if options["id"] == "layers")
    layers = [[name.strip() for name in layer.replace(":", "|").split("|")] for layer in contract["layers"]]
    return [*layers, sorted(contract["exhaustive_ignores"])]


def read_imports(package: str) -> tuple[Edges, dict[str, int]]:
    """The imports between top-level modules, and the number of lines of each module."""
    graph = grimp.build_graph(package, cache_dir=None)
    for importer, imported in _exceptions():
        graph.remove_import(importer=importer, imported=imported)
    edges: Edges = {}
    for importer in sorted(graph.modules):
        source = _top_level(importer)
        for imported in graph.find_modules_directly_imported_by(importer):
            target = _top_level(imported)
            if source and target and source != target:
                edges.setdefault(source, set()).add(target)
    lines: dict[str, int] = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        name = path.relative_to(ROOT / package).parts[0].removesuffix(".py")
        if name != "__init__":
            lines[name] = lines.get(name, 0) + len(path.read_text(encoding="utf-8").splitlines())
    return edges, lines


def _exceptions() -> list[tuple[str, str]]:
    """The imports that the contract of the layers lets pass, which the drawing leaves out."""
    contracts = api.read_configuration(str(ROOT / "pyproject.toml"))["contracts_options"]
    contract = next(options for options in contracts if options["id"] == "layers")
    pairs = [line.split("->") for line in contract.get("ignore_imports", ())]
    return [(importer.strip(), imported.strip()) for importer, imported in pairs]


def _top_level(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def reduce_edges(edges: Mapping[str, set[str]]) -> Edges:
    """The edges that no longer path repeats (the transitive reduction of an acyclic graph)."""

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        stack = [start]
        while stack:
            for target in edges.get(stack.pop(), ()):
                if target not in seen:
                    seen.add(target)
                    stack.append(target)
        return seen

    beyond = {name: reachable(name) for name in {target for targets in edges.values() for target in targets}}
    return {
        source: {target for target in targets if not any(target in beyond[other] for other in targets - {target})}
        for source, targets in edges.items()
    }


def order_layers(layers: Sequence[Sequence[str]], edges: Mapping[str, set[str]]) -> list[list[str]]:
    """The layers with each one's modules below what imports them, as far as that goes."""
    rows = [list(layer) for layer in layers]
    importers: Edges = {}
    for source, targets in edges.items():
        for target in targets:
            importers.setdefault(target, set()).add(source)
    for neighbors, sweep in ((importers, rows), (edges, rows[::-1]), (importers, rows)):
        places = {name: (i + 0.5) / len(row) for row in rows for i, name in enumerate(row)}
        for row in sweep:

            def place(name: str, near: Mapping[str, set[str]] = neighbors, at: dict[str, float] = places) -> float:
                others = near.get(name, set())
                return sum(at[other] for other in others) / len(others) if others else at[name]

            row.sort(key=lambda name: (place(name), name))
            places.update({name: (i + 0.5) / len(row) for i, name in enumerate(row)})
    return rows


def place_boxes(rows: Iterable[Sequence[str]], lines: Mapping[str, int]) -> dict[str, Box]:
    """A box for each module: as wide as it has lines, but no narrower than its name.

    Raises:
        ValueError: the names of a layer alone are too wide.
    """
    rows = list(rows)
    per_line = min(_fitting_scale(row, lines) for row in rows)
    boxes: dict[str, Box] = {}
    for i, row in enumerate(rows):
        widths = _widths(row, lines, per_line)
        space = WIDTH - 2 * MARGIN - LABEL - sum(widths)
        left: float = MARGIN + LABEL + (0 if len(row) > 1 else ASIDE if i % 2 else -ASIDE)
        for name, width in zip(row, widths, strict=True):
            left += space / (len(row) + 1)
            boxes[name] = Box(name, lines[name], left, MARGIN + 40 + i * ROW, width)
            left += width
    return boxes


def _widths(row: Sequence[str], lines: Mapping[str, int], per_line: float) -> list[float]:
    return [max(len(name) * CHAR + 20, lines[name] * per_line) for name in row]


def _fitting_scale(row: Sequence[str], lines: Mapping[str, int]) -> float:
    """Pixels of width for each line of code with which a layer fits, `PER_LINE` at most."""
    space = WIDTH - 2 * MARGIN - LABEL - GAP * (len(row) + 1)
    if sum(_widths(row, lines, 0.0)) > space:
        raise ValueError(f"the names of the layer {' | '.join(row)} do not fit: raise WIDTH")
    scale = PER_LINE
    while sum(_widths(row, lines, scale)) > space:
        scale *= 0.95
    return scale


def draw(rows: Sequence[Sequence[str]], boxes: Mapping[str, Box], edges: Mapping[str, set[str]]) -> str:
    """The drawing, as SVG."""
    height = MARGIN * 2 + 40 + len(rows) * ROW - (ROW - BOX)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="12">',
        "<title>The layers of mrcnn, their packages, and what imports what</title>",
        "<defs>",
        *(
            f'<marker id="tip{i}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0,0 L8,4 L0,8 z" fill="{dark}"/></marker>'
            for i, (_, dark) in enumerate(COLORS)
        ),
        "</defs>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{MARGIN}" y="{MARGIN + 8}" font-size="14" font-weight="bold">{PACKAGE}: imports go only downwards'
        "</text>",
        f'<text x="{WIDTH - MARGIN}" y="{MARGIN + 8}" text-anchor="end" fill="#55606b">width: lines of code; '
        "an arrow that longer ones imply is left out</text>",
    ]
    for i, row in enumerate(rows):
        top = MARGIN + 40 + i * ROW
        last = i == len(rows) - 1
        label = "no layer" if last else f"layer {len(rows) - 2 - i}"
        parts += [
            f'<rect x="{MARGIN}" y="{top - 10}" width="{WIDTH - 2 * MARGIN}" height="{BOX + 20}" rx="6" '
            'fill="#f5f6f7"/>',
            f'<text x="{MARGIN + 12}" y="{top + 24}" fill="#55606b">{label}</text>',
            f'<text x="{MARGIN + 12}" y="{top + 40}" fill="#55606b" font-size="10">'
            f"{sum(boxes[name].lines for name in row):,} lines</text>",
        ]
    for i, row in enumerate(rows):
        for name in row:
            parts += [_arrow(boxes[name], boxes[target], i % len(COLORS)) for target in sorted(edges.get(name, ()))]
    for i, row in enumerate(rows):
        parts += [_box(boxes[name], *COLORS[i % len(COLORS)]) for name in row]
    return "\n".join([*parts, "</svg>", ""])


def _box(box: Box, fill: str, line: str) -> str:
    return (
        f'<g><rect x="{box.left:.1f}" y="{box.top}" width="{box.width:.1f}" height="{BOX}" rx="4" fill="{fill}" '
        f'stroke="{line}"/>'
        f'<text x="{box.center:.1f}" y="{box.top + 24}" text-anchor="middle">{escape(box.name)}</text>'
        f'<text x="{box.center:.1f}" y="{box.top + 40}" text-anchor="middle" font-size="10" fill="#55606b">'
        f"{box.lines:,}</text></g>"
    )


def _arrow(source: Box, target: Box, color: int) -> str:
    """A curve from under `source` to above `target`; one between two of a layer bends below both."""
    start, end = source.top + BOX, target.top - 2
    if source.top == target.top:
        end = start + 2
        bend = start + 22
        return _curve(
            [(source.center, start), (source.center, bend), (target.center, bend), (target.center, end)], color
        )
    middle = ROW * 0.35
    # Arrows spread over the two edges, so that those of one box are distinct.
    lean = max(-0.4, min(0.4, (target.center - source.center) / WIDTH))
    x0, x1 = source.center + lean * source.width, target.center - lean * target.width
    return _curve([(x0, start), (x0, start + middle), (x1, end - middle), (x1, end)], color)


def _curve(points: Iterable[tuple[float, float]], color: int) -> str:
    start, *others = (f"{x:.1f},{y:.1f}" for x, y in points)
    return (
        f'<path d="M{start} C{" ".join(others)}" fill="none" stroke="{COLORS[color][1]}" stroke-width="1.2" '
        f'stroke-opacity="0.8" marker-end="url(#tip{color})"/>'
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Draw the layers of the package from its imports.")
    parser.add_argument("--out", type=Path, default=OUT, help="the SVG file to write")
    out: Path = parser.parse_args(arguments).out
    layers = read_layers(ROOT / "pyproject.toml")
    edges, lines = read_imports(PACKAGE)
    layers = [present for layer in layers if (present := [name for name in layer if name in lines])]
    edges = reduce_edges(edges)
    rows = order_layers(layers, edges)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(draw(rows, place_boxes(rows, lines), edges), encoding="utf-8")
    print(out)


if __name__ == "__main__":
    main()
