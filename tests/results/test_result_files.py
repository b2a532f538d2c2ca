"""Results written in every format, read again by our readers or by slow loops of this file."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import mrcnn
from mrcnn.data.rasterize import annotation_mask, rle_to_mask
from mrcnn.errors import FileError, InputError
from mrcnn.results import coco_json, csv_table, cvat, geojson, instance_png, label_studio, labelme, objects, yolo
from mrcnn.structures.instances import Instances
from mrcnn.structures.outputs import HeadOutput
from mrcnn.structures.result_format import result_formats
from tests.data.formats.sample_sets import iou

HEIGHT, WIDTH = 50, 70
NAMES = ("fig", "nut")
MODULES = (coco_json, csv_table, cvat, geojson, instance_png, label_studio, labelme, yolo)


def scene() -> Instances:
    """A ring with two holes, an object of two parts, a triangle that overlaps the ring."""
    masks = np.zeros((3, HEIGHT, WIDTH), bool)
    masks[0, 5:30, 5:40] = True
    masks[0, 10:20, 8:15] = masks[0, 10:20, 20:30] = False
    masks[1, 35:45, 5:15] = masks[1, 38:48, 50:66] = True
    for k in range(20):
        masks[2, 25 + k, 20 : 21 + k] = True
    boxes = [[5, 5, 30, 40], [35, 5, 48, 66], [25, 20, 45, 40]]
    return Instances(boxes, [1, 2, 1], (HEIGHT, WIDTH), scores=[0.9, 0.75, 0.5], masks=masks)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "in/a b.png")
    return tmp_path / "in/a b.png"


def read_masks(data: mrcnn.Dataset) -> list[np.ndarray]:
    return [annotation_mask(a, HEIGHT, WIDTH) for a in data.annotations(0)]


def same(data: mrcnn.Dataset, least: float = 1.0) -> None:
    """A data set of one image has the instances of the scene, in order."""
    assert [data.class_names[a.class_id - 1] for a in data.annotations(0)] == ["fig", "nut", "fig"]
    for ours, theirs in zip(scene().masks, read_masks(data), strict=True):
        assert iou(ours, theirs) >= least


def test_every_format_is_found() -> None:
    assert list(result_formats()) == ["coco", "csv", "cvat", "geojson", "label_studio", "labelme", "png", "yolo"]
    assert {type(f).__module__ for f in result_formats().values()} == {m.__name__ for m in MODULES}
    assert all(f.holds and f.suffix for f in result_formats().values())


def test_coco(image: Path, tmp_path: Path) -> None:
    saved = scene().save(tmp_path / "out.json", image=image, image_id=7, category_ids=[20, 30])
    entries = json.loads(saved.path.read_text())
    assert [e["category_id"] for e in entries] == [20, 30, 20] and {e["image_id"] for e in entries} == {7}
    assert [e["score"] for e in entries] == [0.9, 0.75, 0.5]
    assert entries[0]["bbox"] == [5, 5, 35, 25] and entries[0]["file_name"] == str(image) and not saved.losses
    for entry, mask in zip(entries, scene().masks, strict=True):
        np.testing.assert_array_equal(rle_to_mask(entry["segmentation"]), mask)
    with pytest.raises(InputError, match="need scores"):
        Instances([[0, 0, 1, 1]], [1], (5, 5)).save(tmp_path / "bare.json")
    assert not (tmp_path / "bare.json").exists()


def test_labelme(image: Path, tmp_path: Path) -> None:
    saved = scene().save(tmp_path / "in/a b.json", "labelme", class_names=NAMES, image=image)
    content = json.loads(saved.path.read_text())
    assert [s["shape_type"] for s in content["shapes"]] == ["mask", "polygon", "polygon", "polygon"]
    assert [s["score"] for s in content["shapes"]] == [0.9, 0.75, 0.75, 0.5]
    assert content["imagePath"] == "a b.png" and not saved.losses
    same(mrcnn.load_dataset(tmp_path / "in"))
    elsewhere = scene().save(tmp_path / "labels/x.json", "labelme", image=image)
    assert json.loads(elsewhere.path.read_text())["imagePath"] == "../in/a b.png"


def test_cvat(image: Path, tmp_path: Path) -> None:
    saved = scene().save(tmp_path / "in/out.xml", class_names=NAMES, image=image)
    same(mrcnn.load_dataset(saved.path))
    text = saved.path.read_text()
    assert text.count('<attribute name="score">0.75</attribute>') == 2 and not saved.losses


def test_yolo(image: Path, tmp_path: Path) -> None:
    saved = scene().save(tmp_path / "set/labels/a b.txt", class_names=NAMES)
    assert [loss.kind for loss in saved.losses] == ["score"]
    (tmp_path / "set/images").mkdir()
    image.rename(tmp_path / "set/images/a b.png")
    (tmp_path / "set/data.yaml").write_text("path: .\ntrain: images\nnames: [fig, nut]\n")
    same(mrcnn.load_dataset(tmp_path / "set"), 0.97)
    boxes = Instances([[5, 14, 15, 28]], [2], (HEIGHT, WIDTH)).save(tmp_path / "box.txt")
    assert boxes.path.read_text() == "1 0.3 0.2 0.2 0.2\n"


def test_label_studio(image: Path, tmp_path: Path) -> None:
    saved = scene().save(tmp_path / "in/ls.json", "label_studio", class_names=NAMES, image=image)
    [task] = json.loads(saved.path.read_text())
    [prediction] = task["predictions"]
    assert [r["type"] for r in prediction["result"]] == ["brushlabels", "brushlabels", "polygonlabels"]
    assert [r["score"] for r in prediction["result"]] == [0.9, 0.75, 0.5] and not saved.losses
    assert prediction["score"] == pytest.approx(2.15 / 3, abs=1e-6)
    # Once a person has accepted the prediction, it is exported as an annotation.
    saved.path.write_text(json.dumps([{"data": task["data"], "annotations": [{"result": prediction["result"]}]}]))
    same(mrcnn.load_dataset(saved.path))


def test_png(tmp_path: Path) -> None:
    saved = scene().save(tmp_path / "map.png", image="x.jpg")
    values = np.asarray(Image.open(saved.path))
    masks = scene().masks
    np.testing.assert_array_equal(values == 1, masks[0])  # the higher score has the pixels of both
    np.testing.assert_array_equal(values == 2, masks[1])
    np.testing.assert_array_equal(values == 3, masks[2] & ~masks[0])
    both = int((masks[0] & masks[2]).sum())
    assert [(loss.kind, loss.instance) for loss in saved.losses] == [("class", None), ("score", None), ("overlap", 3)]
    assert f"x.jpg, instance 3: {both} of its 210 pixels are another instance's" in str(saved)
    with Image.open(saved.path) as opened:
        assert opened.mode == "I;16"
    assert np.asarray(Image.open(Instances.empty((4, 5)).save(tmp_path / "none.png").path)).tolist() == [[0] * 5] * 4
    with pytest.raises(InputError, match="needs masks"):
        Instances([[0, 0, 1, 1]], [1], (5, 5)).save(tmp_path / "bare.png")
    many = Instances(np.zeros((65536, 4)), np.ones(65536), (1, 1), masks=np.ones((65536, 1, 1)))
    with pytest.raises(InputError, match="65536 instances, a map of 16 bits holds 65535"):
        many.save(tmp_path / "many.png")


def test_csv(tmp_path: Path) -> None:
    saved = scene().save(tmp_path / "out.csv", class_names=("fig, dried", "nut"), image="photos/a.jpg")
    with saved.path.open(newline="") as file:
        ring, two, triangle = csv.DictReader(file)
    assert (ring["image"], ring["id"], ring["class"], ring["score"]) == ("a.jpg", "1", "fig, dried", "0.9")
    assert [float(ring[k]) for k in ("x1_px", "y1_px", "x2_px", "y2_px")] == [5, 5, 40, 30]
    assert int(ring["area_px2"]) == 25 * 35 - 70 - 100
    assert (float(ring["length_px"]), float(ring["width_px"]), float(ring["orientation_deg"])) == (35, 25, 0)
    assert int(triangle["area_px2"]) == 210
    # By hand: 100 pixels around (10, 40) and 160 around (58, 43).
    assert float(two["centroid_x_px"]) == pytest.approx((100 * 10 + 160 * 58) / 260, abs=1e-3)
    assert float(two["centroid_y_px"]) == pytest.approx((100 * 40 + 160 * 43) / 260, abs=1e-3)
    assert not saved.losses
    bare = Instances([[0, 0, 1, 1]], [1], (5, 5)).save(tmp_path / "bare.csv").path.read_text().splitlines()
    assert bare[1] == "1,1,1,class_1,,0.0,0.0,1.0,1.0,,,,,,"
    assert Instances.empty((4, 5)).save(tmp_path / "none.csv").path.read_text().splitlines() == [
        ",".join(csv_table.COLUMNS)
    ]


def drawn(coordinates: list) -> np.ndarray:
    """A polygon with holes as pixels, by their centers; even-odd, edge by edge."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    inside = np.zeros((HEIGHT, WIDTH), bool)
    for ring in coordinates:
        for (x1, y1), (x2, y2) in itertools.pairwise(ring):
            if y1 != y2:
                crosses = ((y1 > y) != (y2 > y)) & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
                inside ^= crosses
    return inside


def area(ring: list) -> float:
    return sum(a[0] * b[1] - a[1] * b[0] for a, b in itertools.pairwise(ring)) / 2


def test_geojson_in_pixels(image: Path, tmp_path: Path) -> None:
    saved = scene().save(tmp_path / "out.geojson", class_names=NAMES, image=image)
    content = json.loads(saved.path.read_text())
    assert content["type"] == "FeatureCollection" and content["coordinates"] == "pixels" and "crs" not in content
    ring, two, triangle = content["features"]
    assert ring["properties"] == {"id": 1, "class_id": 1, "class": "fig", "score": 0.9}
    assert [f["geometry"]["type"] for f in (ring, two, triangle)] == ["Polygon", "MultiPolygon", "Polygon"]
    assert [area(r) for r in ring["geometry"]["coordinates"]] in ([875, -70, -100], [875, -100, -70])
    assert sorted(area(p[0]) for p in two["geometry"]["coordinates"]) == [100, 160]
    for feature, mask in zip(content["features"], scene().masks, strict=True):
        geometry = feature["geometry"]
        polygons = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
        assert all(r[0] == r[-1] for p in polygons for r in p)
        np.testing.assert_array_equal(np.any([drawn(p) for p in polygons], axis=0), mask)
    assert not saved.losses


def test_geojson_on_the_map(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio", reason="extra geo")
    path = tmp_path / "field.tif"
    transform = rasterio.transform.from_origin(500000, 5400000, 0.5, 0.5)
    values = np.zeros((3, HEIGHT, WIDTH), np.uint8)
    options = {"driver": "GTiff", "height": HEIGHT, "width": WIDTH, "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", crs="EPSG:32632", transform=transform, **options) as file:
        file.write(values)
    content = json.loads(scene().save(tmp_path / "out.geojson", image=path).path.read_text())
    assert content["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32632" and content["coordinates"] == "map"
    outer, *holes = content["features"][0]["geometry"]["coordinates"]
    assert np.min(outer, axis=0).tolist() == [500002.5, 5399985.0]
    assert np.max(outer, axis=0).tolist() == [500020.0, 5399997.5]
    assert area(outer) == pytest.approx(875 / 4) and all(area(hole) < 0 for hole in holes)


def test_geojson_without_rasterio_says_what_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rasterio", None)
    tags = {33550: (0.5, 0.5, 0.0), 33922: (0.0, 0.0, 0.0, 500000.0, 5400000.0, 0.0)}
    Image.new("L", (WIDTH, HEIGHT)).save(tmp_path / "field.tif", tiffinfo=tags)
    saved = scene().save(tmp_path / "out.geojson", image=tmp_path / "field.tif")
    assert [loss.kind for loss in saved.losses] == ["map coordinates"] and "mrcnn-keras[geo]" in str(saved)
    with pytest.raises(InputError, match="geojson cannot hold 1 things"):
        scene().save(tmp_path / "strict.geojson", image=tmp_path / "field.tif", strict=True)
    assert not (tmp_path / "strict.geojson").exists()


@pytest.mark.parametrize("format", list(result_formats()))
def test_what_cannot_be_held_is_said(format: str, tmp_path: Path) -> None:
    """Keypoints, crowd, an output of a further head and a mask without a pixel, each by its instance."""
    masks = np.zeros((2, 8, 9), bool)
    masks[0, 1:4, 2:6] = True
    joints = np.zeros((2, 3, 3))
    joints[1, 0] = (3, 4, 1)
    result = Instances(
        [[1, 2, 4, 6], [0, 0, 3, 3]], [1, 1], (8, 9), scores=[0.5, 0.4], masks=masks, keypoints=joints,
        is_crowd=[True, False], extra={"depth": np.ones(2)}, outputs=(HeadOutput("depth"),),
    )  # fmt: skip
    losses = result.save(tmp_path / "x", format).losses
    expected = {("crowd", 1), ("outputs", None), ("empty", 2), ("keypoints", 2), ("score", None)}
    if format == "coco":
        expected -= {("keypoints", 2), ("empty", 2)}
    if format == "csv":
        expected -= {("empty", 2)}
    if format not in ("yolo", "png"):
        expected -= {("score", None)}
    assert {(loss.kind, loss.instance) for loss in losses} == expected
    assert len(losses) == len(expected)


@pytest.mark.parametrize("format", list(result_formats()))
def test_an_image_without_instances(format: str, tmp_path: Path) -> None:
    saved = Instances.empty((8, 9)).save(tmp_path / "x", format, class_names=NAMES)
    assert saved.path.is_file() and not saved.losses


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x.foo: no format of results ends in '.foo'; there are .json \(coco\)"):
        scene().save(tmp_path / "x.foo")
    with pytest.raises(InputError, match="no format of results 'excel'; there are coco, csv"):
        scene().save(tmp_path / "x", "excel")
    with pytest.raises(InputError, match=r"1: class id 2, expected 1..1"):
        scene().save(tmp_path / "x.csv", class_names=["fig"])
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError):
        scene().save(tmp_path / "file/x.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_objects_are_traced_in_their_windows() -> None:
    """The outline of a mask far from the corner, against the polygon that Pillow fills."""
    mask = np.zeros((1, HEIGHT, WIDTH), bool)
    mask[0, 30:40, 50:60] = True
    canvas = Image.new("1", (WIDTH, HEIGHT))
    from mrcnn.structures.result_format import ImageResult

    result = ImageResult(Instances([[30, 50, 40, 60]], [1], (HEIGHT, WIDTH), masks=mask))
    [(number, annotation)] = objects.objects(result)
    assert number == 0 and isinstance(annotation.segmentation, list)
    # Pillow's corners are pixels, ours lie between them.
    inner = [(x - (x > 55), y - (y > 35)) for x, y in annotation.segmentation[0].tolist()]
    ImageDraw.Draw(canvas).polygon(inner, fill=1)
    np.testing.assert_array_equal(np.asarray(canvas), mask[0])
