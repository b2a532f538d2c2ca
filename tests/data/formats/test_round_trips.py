"""Every writer and its reader, object by object: what a format holds is kept, what it does not hold is listed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mrcnn
from mrcnn.data.dataset import Dataset
from mrcnn.data.pipeline import DataConfig, make_pipeline
from mrcnn.data.rle import mask_to_rle
from mrcnn.preprocessing import InputConfig
from mrcnn.structures.records import Annotation
from tests.data.formats.sample_sets import iou, masks

ROOT = Path(__file__).parents[3]
PEOPLE = ROOT.parent / "shared/data/coco_person_320/annotations_val.json"
LEAST = {"yolo": 0.97, "instance_map": 1.0, "object_masks": 1.0, "voc": 1.0}
FORMATS = [name for name, _, is_writable in mrcnn.list_formats() if is_writable]
KEEP_IDS = ("coco", "lvis", "label_studio", "tfrecord")
KEEP_OBJECT_IDS = ("coco", "geojson", "lvis")


def generated(folder: Path) -> Dataset:
    """Rings, objects of several parts, a hole in a part, thin lines, and a crowd region; nothing overlaps."""
    rng = np.random.default_rng(3)
    folder.mkdir()
    data = Dataset()
    for k, name in enumerate(("fig", "nut"), start=1):
        data.add_class("made", k, name)
    for number in range(2):
        height, width = (96, 128) if number else (100, 90)
        objects = []
        for k, (top, left) in enumerate((y, x) for y in range(2, height - 30, 32) for x in range(2, width - 30, 32)):
            mask = np.zeros((height, width), bool)
            cell = mask[top : top + 28, left : left + 28]
            y, x = np.mgrid[:28, :28] - 13.5
            cell[:] = y**2 + x**2 < rng.uniform(80, 180)
            if k % 3 == 0:
                cell[8:15, 9:17] = cell[17:19, 12:14] = False
            elif k % 3 == 1:
                cell[:, 10:14] = False
            if k % 4 == 3:
                cell[:] = False
                cell[3, 2:20] = cell[3:25, 2] = True
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            box = (float(rows[0]), float(columns[0]), float(rows[-1] + 1), float(columns[-1] + 1))
            objects.append(Annotation(1 + k % 2, box, mask_to_rle(mask), None, k == 2, k))
        path = folder / f"image_{number}.png"
        Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8)).save(path)
        data.add_image("made", 10 + number, str(path), height=height, width=width, annotations=objects)
    return data


def check(data: Dataset, format: str, folder: Path, **options: object) -> set[str]:
    """Write, read, compare; the kinds of losses that the writer listed."""
    saved = data.save(folder / format, format, **options)
    again = mrcnn.load_dataset(folder / format)
    losses: dict[tuple, set[str]] = {}
    for loss in saved.losses:
        losses.setdefault((loss.image_id, loss.annotation_id), set()).add(loss.kind)
    kinds = {loss.kind for loss in saved.losses}
    names = {Path(str(r.path or r.extra["file_name"])).stem: i for i, r in enumerate(again._records)}
    assert len(again) == len(data)
    for index, record in enumerate(data._records):
        other = names[Path(str(record.path)).stem]
        assert format not in KEEP_IDS or again.image_ids[other] == record.image_id
        theirs = list(zip(again.annotations(other), masks(again, other), strict=True))
        written = 0
        for annotation, mask in zip(data.annotations(index), masks(data, index), strict=True):
            lost = losses.get((record.image_id, annotation.annotation_id), set())
            if lost & {"empty", "too many objects"}:
                continue
            written += 1
            name = data.class_names[annotation.class_id - 1]
            same = [(a, m) for a, m in theirs if "class" in kinds or again.class_names[a.class_id - 1] == name]
            match, best = max(same, key=lambda pair: iou(mask, pair[1]))
            if not lost & {"overlap", "mask"}:
                assert iou(mask, best) >= LEAST.get(format, 0.999), (record.image_id, annotation.annotation_id)
            repeated = format != "geojson" and data._records[0].source == "made"  # the ids of one image are another's
            assert format not in KEEP_OBJECT_IDS or repeated or match.annotation_id == annotation.annotation_id
            assert match.is_crowd == annotation.is_crowd or "crowd" in lost
            if annotation.keypoints is not None and (annotation.keypoints[:, 2] > 0).any() and "keypoints" not in lost:
                # Joints by name: a format without a list of them has those that occur.
                expected = dict(zip(data.keypoint_names, annotation.keypoints, strict=True))
                held = dict(zip(again.keypoint_names, match.keypoints, strict=True))
                for joint, point in expected.items():
                    if point[2] > 0:
                        np.testing.assert_allclose(held[joint], point, atol=0.01)
        own = [losses.get((record.image_id, a.annotation_id), set()) for a in data.annotations(index)]
        hidden = sum("overlap" in lost for lost in own)
        assert written - hidden <= len(theirs) <= written
    return kinds


@pytest.mark.parametrize("format", FORMATS)
def test_holes_and_parts(format: str, tmp_path: Path) -> None:
    kinds = check(generated(tmp_path / "in"), format, tmp_path)
    expected = set() if format in ("coco", "coco_panoptic", "geojson", "tfrecord") else {"crowd"}
    assert kinds == expected | ({"class"} if format == "instance_map" else set())


@pytest.mark.parametrize("format", FORMATS)
def test_nuts(format: str, tmp_path: Path) -> None:
    data = mrcnn.load_dataset(ROOT / "tests/assets/nuts3/annotations.json")
    assert check(data, format, tmp_path) <= {"overlap", "class"}


def batches(data: Dataset) -> list[dict[str, np.ndarray]]:
    """Of a training with random views, images in the order of their names."""
    names = [Path(str(r.path or r.extra["file_name"])).stem for r in data._records]
    ordered = data.subset(sorted(range(len(data)), key=names.__getitem__))
    config = DataConfig(max_instances=24, mask_side=28, scale_jitter=(0.5, 2.0), crop=(96, 96))
    pipeline = make_pipeline(ordered, InputConfig(short_side=96, long_side=128), config, 2, training=True)
    return [{k: v for k, v in batch.items() if k != "image_id"} for batch in pipeline.as_numpy_iterator()]


def equal(a: Dataset, b: Dataset) -> None:
    for ours, theirs in zip(batches(a), batches(b), strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            np.testing.assert_array_equal(value, theirs[name], name)


@pytest.mark.parametrize("format", ["coco", "cvat", "geojson", "label_studio", "labelme", "lvis", "tfrecord", "yolo"])
def test_copies_give_the_same_batches(format: str, tmp_path: Path) -> None:
    """Of polygons, bit for bit; ids of images apart, which some formats do not have."""
    data = mrcnn.load_dataset(ROOT / "tests/assets/nuts3/annotations.json")
    data.save(tmp_path / "copy", format)
    equal(data, mrcnn.load_dataset(tmp_path / "copy"))


@pytest.mark.parametrize("format", ["voc", "tfrecord"])
def test_copies_of_maps_give_the_same_batches(format: str, tmp_path: Path) -> None:
    """Of masks that do not overlap, with holes and several parts."""
    data = generated(tmp_path / "in").filter(lambda record, annotation: not annotation.is_crowd)
    data.save(tmp_path / "copy", format)
    equal(data, mrcnn.load_dataset(tmp_path / "copy"))


@pytest.mark.skipif(not PEOPLE.exists(), reason="the photographs of COCO are not part of the project")
@pytest.mark.parametrize("format", FORMATS)
def test_people(format: str, tmp_path: Path) -> None:
    """Crowd regions, people in several parts, joints seen and hidden."""
    whole = mrcnn.load_dataset(PEOPLE, PEOPLE.parent / "images")
    crowd = [i for i in range(len(whole)) if any(a.is_crowd for a in whole.annotations(i))][:2]
    parts = [
        i for i in range(len(whole)) if any(len(a.segmentation) > 1 for a in whole.annotations(i) if not a.is_crowd)
    ]
    data = whole.subset(sorted({*crowd, *parts[:3]}))
    assert any(a.is_crowd for i in range(len(data)) for a in data.annotations(i)) == bool(crowd)
    kinds = check(data, format, tmp_path)
    holds = {"coco": set(), "tfrecord": set(), "lvis": {"crowd", "keypoints"}}
    assert kinds == holds[format] if format in holds else kinds <= {
        "crowd", "keypoints", "overlap", "mask", "empty", "class",
    }  # fmt: skip
    if format == "yolo":
        assert "keypoints" in check(data, format, tmp_path / "seg", task="segment")
