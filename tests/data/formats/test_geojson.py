from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mrcnn
from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.formats.geojson import GeoJson
from mrcnn.data.formats.registry import recognize
from mrcnn.data.rle import mask_to_rle
from mrcnn.errors import DependencyError
from mrcnn.structures.records import Annotation
from tests.data.formats.sample_sets import iou, kinds, masks, write_image

SQUARE = [[5, 4], [25, 4], [25, 24], [5, 24], [5, 4]]
HOLE = [[10, 9], [10, 14], [15, 14], [15, 9], [10, 9]]


def feature(coordinates: Any, kind: str = "Polygon", **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


def write(path: Path, *features: Any, **members: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"type": "FeatureCollection", **members, "features": list(features)}))
    return path


def test_polygons_with_holes_in_pixels(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    write_image(tmp_path / "bare.png")
    write(
        tmp_path / "a.geojson",
        feature([SQUARE, HOLE], label="fig", iscrowd=1),
        feature([[SQUARE], [[[30, 2, 7], [38, 2, 7], [38, 10, 7], [30, 2, 7]]]], "MultiPolygon", label="nut"),
    )
    data = mrcnn.load_dataset(tmp_path)
    assert isinstance(recognize(tmp_path), GeoJson) and data.class_names == ("fig", "nut")
    assert data.image_ids == ("a", "bare") and kinds(data) == ["image without label"]
    ring, two = masks(data, 0)
    assert ring.sum() == 400 - 25 and not ring[10, 12] and ring[5, 6]
    assert two[:, :28].sum() == 400 and 20 < two[:, 28:].sum() < 45
    assert [a.is_crowd for a in data.annotations(0)] == [True, False]


@pytest.mark.parametrize(
    "properties, expected",
    [
        ({"classification": {"name": "Tumor", "color": [1, 2, 3]}, "objectType": "annotation"}, "Tumor"),
        ({"name": "7", "class": None}, "7"),
        ({"area": 3}, "object"),
    ],
)
def test_classes(properties: dict, expected: str, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    write(tmp_path / "a.geojson", feature([SQUARE], **properties))
    assert mrcnn.load_dataset(tmp_path).class_names == (expected,)


def test_the_property_of_classes_can_be_chosen(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    write(tmp_path / "a.geojson", feature([SQUARE], name="field 3", crop=12))
    assert mrcnn.load_dataset(tmp_path, class_property="crop").class_names == ("12",)


def test_what_is_wrong_is_listed(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    write(
        tmp_path / "a.geojson",
        feature([SQUARE], label="fig"),
        feature([5, 4], "Point", label="fig"),
        {"type": "Feature", "geometry": None, "properties": None},
        feature([[[5, 4], ["x", 4]]], label="fig"),
        feature([[[5, 4], [float("nan"), 4], [3, 3]]], label="fig"),
        feature([SQUARE]),
        feature([[[p[0] + 900, p[1]] for p in SQUARE], HOLE], label="fig"),
        3,
    )
    data = mrcnn.load_dataset(tmp_path)
    assert len(data.annotations(0)) == 1
    assert kinds(data) == ["box outside", *["no area"] * 4, "unknown class", "wrong type"]
    (tmp_path / "b.geojson").write_text('{"type": "FeatureCollection", "features": 3}')
    write(tmp_path / "c.geojson", feature([SQUARE], label="fig"))
    again = mrcnn.load_dataset(tmp_path)
    assert {"damaged label", "missing image"} <= set(kinds(again))
    write(tmp_path / "a.geojson", feature([SQUARE]), crs={"properties": {"name": "urn:ogc:def:crs:EPSG::32632"}})
    with pytest.raises(DataError, match=r"a.png states no place"):
        mrcnn.load_dataset(tmp_path / "a.geojson")


def tile(path: Path, left: float, top: float, crs: str | None = "EPSG:32632") -> None:
    rasterio = pytest.importorskip("rasterio", reason="extra geo")
    transform = rasterio.transform.from_origin(left, top, 0.5, 0.5)
    options = {"driver": "GTiff", "height": 40, "width": 50, "count": 3, "dtype": "uint8"}
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", crs=crs, transform=transform, **options) as file:
        file.write(np.full((3, 40, 50), 99, np.uint8))


def test_one_file_over_two_tiles(tmp_path: Path) -> None:
    """A field of 10 by 5 m lies half on each tile; one lies on the left only, one on none."""
    tile(tmp_path / "west.tif", 500000, 5400000)
    tile(tmp_path / "east.tif", 500025, 5400000)

    def box(x1: float, y1: float, x2: float, y2: float) -> list:
        return [[[x1, y1], [x2, y1], [x2, y2], [x1, y2], [x1, y1]]]

    write(
        tmp_path / "fields.geojson",
        feature(box(500020, 5399990, 500030, 5399995), crop="rye"),
        feature(box(500002, 5399990, 500004, 5399998), crop="oat"),
        feature(box(600002, 5399990, 600004, 5399998), crop="oat"),
        crs={"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}},
    )
    data = mrcnn.load_dataset(tmp_path, class_property="crop")
    east, west = (data.image_ids.index(name) for name in ("east", "west"))
    assert [a.box for a in data.annotations(east)] == [(10, 0, 20, 10)]
    assert sorted(a.box for a in data.annotations(west)) == [(4, 4, 20, 8), (10, 40, 20, 50)]
    assert kinds(data) == ["box outside"] and "feature 2 lies over none" in str(data.issues[0])


def test_longitudes_and_latitudes(tmp_path: Path) -> None:
    """Without "crs" coordinates are degrees; zone 32 has its middle, 500 km, at 9 degrees east."""
    warp = pytest.importorskip("rasterio.warp", reason="extra geo")
    tile(tmp_path / "a.tif", 500000, 5400000)
    corners = [(500005, 5399995), (500015, 5399995), (500015, 5399985), (500005, 5399985)]
    x, y = warp.transform("EPSG:32632", "EPSG:4326", *zip(*corners, strict=True))
    assert 8.9 < min(x) < 9.1 and 48 < min(y) < 49
    ring = [list(p) for p in zip(x, y, strict=True)]
    write(tmp_path / "a.geojson", feature([[*ring, ring[0]]], label="fig"))
    data = mrcnn.load_dataset(tmp_path)
    np.testing.assert_allclose(data.annotations(0)[0].box, (10, 10, 30, 30), atol=0.01)


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:4326", None])
def test_on_the_map_and_back(crs: str | None, tmp_path: Path) -> None:
    tile(tmp_path / "in/a.tif", 9, 48, crs)
    ring = np.zeros((40, 50), bool)
    ring[5:30, 5:40] = True
    ring[10:20, 8:20] = False
    data = Dataset()
    data.add_class("made", 1, "fig")
    objects = [Annotation(1, (5, 5, 30, 40), mask_to_rle(ring), None, True, 1)]
    data.add_image("made", "a", str(tmp_path / "in/a.tif"), height=40, width=50, annotations=objects)
    saved = data.save(tmp_path / "out", "geojson")
    content = json.loads((tmp_path / "out/a.geojson").read_text())
    assert content["coordinates"] == "map" and ("crs" in content) == (crs is not None) and not saved.losses
    again = mrcnn.load_dataset(tmp_path / "out")
    assert iou(masks(again, 0)[0], ring) >= 0.999 and again.annotations(0)[0].is_crowd
    assert again.load_image(0)[0, 0].tolist() == [99, 99, 99]


def test_rasterio_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rasterio", None)
    from PIL import Image

    tags = {33550: (0.5, 0.5, 0.0), 33922: (0.0, 0.0, 0.0, 500000.0, 5400000.0, 0.0)}
    Image.new("RGB", (40, 30)).save(tmp_path / "a.tif", tiffinfo=tags)
    write(tmp_path / "a.geojson", feature([SQUARE], label="fig"))
    with pytest.raises(DependencyError, match=r"a.tif: has a place on the map, which needs rasterio"):
        mrcnn.load_dataset(tmp_path)
    write(tmp_path / "a.geojson", feature([SQUARE], label="fig"), coordinates="pixels")
    assert mrcnn.load_dataset(tmp_path).annotations(0)[0].box == (4, 5, 24, 25)
