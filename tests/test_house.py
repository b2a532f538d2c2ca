"""docs/house.py, which `make house` runs: the drawing of the layers."""

from __future__ import annotations

import importlib.util
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def house() -> ModuleType:
    pytest.importorskip("importlinter", reason="a package for development")
    spec = importlib.util.spec_from_file_location("house", ROOT / "docs/house.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["house"] = module  # where dataclasses look their annotations up
    spec.loader.exec_module(module)
    return module


def test_every_top_level_module_is_in_the_drawing(house: ModuleType, tmp_path: Path) -> None:
    house.main(["--out", str(tmp_path / "house.svg")])
    texts = {element.text for element in ET.parse(tmp_path / "house.svg").iter(f"{SVG}text")}
    modules = {path.stem for path in (ROOT / "mrcnn").glob("*.py")} - {"__init__"}
    packages = {path.parent.name for path in (ROOT / "mrcnn").glob("*/__init__.py")}
    assert modules | packages <= texts


def test_the_same_source_gives_the_same_bytes(house: ModuleType, tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        house.main(["--out", str(tmp_path / name)])
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_arrows_point_downwards(house: ModuleType) -> None:
    layers = house.read_layers(ROOT / "pyproject.toml")
    edges, lines = house.read_imports("mrcnn")
    rows = house.order_layers(layers, house.reduce_edges(edges))
    boxes = house.place_boxes(rows, lines)
    assert set(lines) == set(boxes)
    assert all(boxes[target].top >= boxes[source].top for source, targets in edges.items() for target in targets)


def test_an_edge_that_a_longer_path_implies_is_left_out(house: ModuleType) -> None:
    edges = {"top": {"middle", "bottom", "side"}, "middle": {"bottom"}}
    assert house.reduce_edges(edges) == {"top": {"middle", "side"}, "middle": {"bottom"}}


def test_boxes_are_as_wide_as_they_have_lines(house: ModuleType) -> None:
    boxes = house.place_boxes([["large", "larger", "a"]], {"large": 4000, "larger": 8000, "a": 1})
    assert boxes["larger"].width == pytest.approx(2 * boxes["large"].width)
    assert boxes["a"].width == pytest.approx(house.CHAR + 20)
    assert boxes["large"].left + boxes["large"].width < boxes["larger"].left


def test_a_layer_that_does_not_fit_is_refused_by_name(house: ModuleType) -> None:
    names = [f"module_of_a_long_name_{i}" for i in range(10)]
    with pytest.raises(ValueError, match=r"module_of_a_long_name_0 \| module"):
        house.place_boxes([names], dict.fromkeys(names, 1))


def test_all_boxes_are_narrower_where_a_layer_is_too_wide(house: ModuleType) -> None:
    lines = {"first": 20_000, "second": 20_000, "third": 5_000}
    boxes = house.place_boxes([["first", "second"], ["third"]], lines)
    assert boxes["second"].left + boxes["second"].width <= house.WIDTH - house.MARGIN
    assert boxes["first"].width == pytest.approx(4 * boxes["third"].width)


def test_the_table_of_layers_in_the_docs_is_the_contract(house: ModuleType) -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", text, re.MULTILINE)
    *layers, _ = house.read_layers(ROOT / "pyproject.toml")
    stated = {int(number): re.findall(r"`(\w+)`", modules) for number, modules in rows}
    assert stated == dict(enumerate(layers[::-1])), "docs/architecture.md and [tool.importlinter] differ"
