"""Data sets written in every format and read again."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mrcnn
from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.formats.base import Format
from mrcnn.data.formats.registry import formats
from mrcnn.data.pipeline import make_pipeline
from mrcnn.data.rle import mask_to_rle
from mrcnn.preprocessing import InputConfig
from mrcnn.structures.records import Annotation
from tests.data.formats.sample_sets import iou, masks

NUTS = Path(__file__).parents[2] / "assets/nuts3/annotations.json"
WRITABLE = [
    "coco", "coco_panoptic", "cvat", "geojson", "instance_map", "label_studio", "labelme",
    "lvis", "object_masks", "tfrecord", "voc", "yolo",
]  # fmt: skip


def shapes(folder: Path, keypoints: bool = False) -> Dataset:
    """A ring, an object of two parts, a crowd region, a box, overlapping polygons; two classes, an empty image."""
    ring = np.zeros((60, 80), bool)
    ring[5:30, 5:40] = True
    ring[10:20, 12:30] = False
    two = [np.array([[45, 5], [60, 5], [60, 20.5]], np.float32), np.array([[65, 5], [75, 5], [70, 18]], np.float32)]
    joints = np.array([[50, 10, 2], [0, 0, 0], [70, 9, 1]], np.float32) if keypoints else None
    objects = [
        Annotation(1, (5, 5, 30, 40), mask_to_rle(ring), annotation_id=1),
        Annotation(2, (5, 45, 20.5, 75), two, annotation_id=2, keypoints=joints),
        Annotation(2, (35, 5, 50, 25), [np.array([[5, 35], [25, 35], [25, 50], [5, 50]], np.float32)], None, True, 3),
        Annotation(1, (35, 40, 55, 60), None, annotation_id=4),
        Annotation(
            1, (45, 50, 58, 75), [np.array([[50, 45], [75, 45], [75, 58], [50, 58]], np.float32)], annotation_id=5
        ),
    ]
    folder.mkdir(parents=True)
    data = Dataset()
    data.keypoint_names = ("a", "b", "c") if keypoints else ()
    for k, name in enumerate(("fig", "nut"), start=1):
        data.add_class("mine", k, name)
    for name, own in (("x_1.png", objects), ("empty.jpg", [])):
        Image.new("RGB", (80, 60), (20, 200, 30)).save(folder / name)
        data.add_image("mine", name, str(folder / name), height=60, width=80, annotations=own)
    return data


def same(a: Dataset, b: Dataset, index: int, other: int, least: float) -> None:
    """Objects of b match those of a one to one, in order."""
    assert [x.class_id for x in a.annotations(index)] == [x.class_id for x in b.annotations(other)]
    for first, second in zip(masks(a, index), masks(b, other), strict=True):
        assert iou(first, second) >= least


def by_name(data: Dataset) -> dict[str, int]:
    return {Path(str(r.path or r.extra["file_name"])).stem: i for i, r in enumerate(data._records)}


def test_formats_that_can_be_written() -> None:
    assert [name for name, f in formats().items() if type(f).save is not Format.save] == WRITABLE


@pytest.mark.parametrize("format", ["coco", "cvat", "labelme", "tfrecord", "yolo"])
def test_every_shape_survives(tmp_path: Path, format: str) -> None:
    data = shapes(tmp_path / "in")
    saved = data.save(tmp_path / "out", format)
    again = mrcnn.load_dataset(tmp_path / "out")
    names = by_name(again)
    assert set(names) == {"x_1", "empty"} and again.class_names == ("fig", "nut")
    assert not again.annotations(names["empty"])
    same(data, again, 0, names["x_1"], 0.999 if format != "yolo" else 0.97)
    crowd = [a.is_crowd for a in again.annotations(names["x_1"])]
    keeps = format in ("coco", "tfrecord")
    assert crowd == [False, False, keeps, False, False]
    assert Counter(loss.kind for loss in saved.losses) == ({} if keeps else {"crowd": 1})
    np.testing.assert_array_equal(again.load_image(names["x_1"]), data.load_image(0))


@pytest.mark.parametrize("format", ["coco", "tfrecord", "yolo"])
def test_keypoints_survive(tmp_path: Path, format: str) -> None:
    data = shapes(tmp_path / "in", keypoints=True).filter(lambda record, a: a.annotation_id == 2)
    saved = data.save(tmp_path / "out", format)
    again = mrcnn.load_dataset(tmp_path / "out")
    expected = data.annotations(0)[0].keypoints
    np.testing.assert_allclose(again.annotations(by_name(again)["x_1"])[0].keypoints, expected, atol=0.001)
    assert [loss.kind for loss in saved.losses] == (["mask"] if format == "yolo" else [])
    assert [x.kind for x in data.save(tmp_path / "seg", "yolo", task="segment").losses] == ["keypoints"]


@pytest.mark.parametrize("format", ["voc", "instance_map", "object_masks"])
def test_maps_are_exact_where_nothing_overlaps(tmp_path: Path, format: str) -> None:
    data = shapes(tmp_path / "in")
    saved = data.save(tmp_path / "out", format)
    again = mrcnn.load_dataset(tmp_path / "out")
    names = by_name(again)
    ours, theirs = masks(data, 0), masks(again, names["x_1"])
    overlapping = 0 if format == "object_masks" else 1
    kinds = Counter(loss.kind for loss in saved.losses)
    assert kinds["crowd"] == 1 and kinds["overlap"] == overlapping
    assert kinds["class"] == (format == "instance_map")
    best = [max(iou(m, other) for other in theirs) for m in ours]
    assert [v == 1 for v in best] == [True, True, True, not overlapping, True]
    assert again.class_names == (("object",) if format == "instance_map" else ("fig", "nut"))


@pytest.mark.parametrize("format", WRITABLE)
def test_nuts(tmp_path: Path, format: str) -> None:
    data = mrcnn.load_dataset(NUTS)
    data.save(tmp_path / "out", format)
    again = mrcnn.load_dataset(tmp_path / "out")
    names = by_name(again)
    assert len(again) == len(data) and not [i for i in again.issues if i.kind != "image without label"]
    for index, record in enumerate(data._records):
        other = names[Path(record.path).stem]
        theirs = masks(again, other)
        for mask in masks(data, index):
            exact = 0.999 if format in ("coco", "cvat", "labelme", "object_masks", "tfrecord") else 0.9
            assert max(iou(mask, m) for m in theirs) >= exact


def test_nothing_is_replaced_and_strict_writes_nothing(tmp_path: Path) -> None:
    data = shapes(tmp_path / "in")
    with pytest.raises(DataError, match=r"yolo cannot hold 1 things:\n.*image x_1.png, annotation 3: a crowd region"):
        data.save(tmp_path / "out", "yolo", strict=True)
    assert not (tmp_path / "out").exists()
    assert not data.save(tmp_path / "out", "coco", strict=True).losses
    with pytest.raises(DataError, match="out: is there already"):
        data.save(tmp_path / "out", "coco")
    with pytest.raises(DataError, match="cityscapes can be read only; formats that can be written: coco, coco_"):
        data.save(tmp_path / "other", "cityscapes")
    with pytest.raises(DataError, match="task='box'"):
        data.save(tmp_path / "other", "yolo", task="box")
    data.save(tmp_path / "labels.json")
    assert mrcnn.load_dataset(tmp_path / "labels.json", tmp_path / "in").image_ids == ("x_1.png", "empty.jpg")
    assert "1 losses" in str(data.save(tmp_path / "third", "labelme")) and (tmp_path / "third/x_1.json").is_file()


def test_names_that_collide_and_images_without_a_file(tmp_path: Path) -> None:
    class Made(Dataset):
        def load_image(self, index: int) -> np.ndarray:
            return np.full((8, 9, 3), index, np.uint8)

    data = Made()
    data.add_class("made", 1, "a/b")
    for k, name in enumerate(("train/a.png", "val/A.png", "c?d.png")):
        data.add_image("made", k, None, height=8, width=9, file_name=name, annotations=[Annotation(1, (1, 1, 5, 5))])
    for format in ("yolo", "object_masks"):
        data.save(tmp_path / format, format)
        again = mrcnn.load_dataset(tmp_path / format)
        assert sorted(int(again.load_image(i)[0, 0, 0]) for i in range(3)) == [0, 1, 2]
        assert len({name.lower() for name in by_name(again)}) == 3


def test_shards(tmp_path: Path) -> None:
    data = mrcnn.load_dataset(NUTS)
    data.save(tmp_path / "out", "tfrecord", shards=3, name="val")
    names = sorted(file.name for file in (tmp_path / "out").iterdir())
    digests = [hashlib.sha256((tmp_path / "out" / n).read_bytes()).hexdigest()[:8] for n in names[1:]]
    assert names[0] == "label_map.pbtxt" and len(names) == 4
    endings = sorted(name.removeprefix(f"val-{digest}") for name, digest in zip(names[1:], digests, strict=True))
    assert endings == [f".tfrecord-0000{k}-of-00003" for k in range(3)]
    assert mrcnn.dataset_splits(tmp_path / "out") == ("val",)
    with pytest.raises(DataError, match="9 shards for 4 images"):
        data.save(tmp_path / "more", "tfrecord", shards=9)


def pixel_true() -> Dataset:
    """The nuts with masks of pixels, none in two objects, and the boxes of these masks."""
    nuts, exact = mrcnn.load_dataset(NUTS), Dataset()
    for number, name in enumerate(nuts.class_names, start=1):
        exact.add_class("nuts", number, name)
    for index, record in enumerate(sorted(nuts._records, key=lambda r: Path(str(r.path)).name)):
        index = nuts.image_ids.index(record.image_id)
        height, width = nuts.image_shape(index)
        taken, objects = np.zeros((height, width), bool), []
        for annotation, mask in zip(nuts.annotations(index), masks(nuts, index), strict=True):
            mask = mask & ~taken
            taken |= mask
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            box = tuple(map(float, (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1)))
            objects.append(Annotation(annotation.class_id, box, mask_to_rle(mask)))
        exact.add_image("nuts", index, record.path, height=height, width=width, annotations=objects)
    return exact


def batches(data: Dataset) -> list[dict[str, np.ndarray]]:
    """Two epochs of training batches, augmented and shuffled; images in the order of their names, ids aside."""
    names = [Path(str(r.path or r.extra["file_name"])).stem for r in data._records]
    ordered = data.subset(np.argsort(names))
    pipeline = make_pipeline(ordered, InputConfig(short_side=64), batch_size=2, training=True, seed=3, repeat=True)
    return [{k: v.numpy() for k, v in b.items() if k != "image_id"} for b in pipeline.take(len(data))]


@pytest.mark.parametrize("format", ["voc", "tfrecord"])
def test_training_from_copies_sees_the_same_batches(tmp_path: Path, format: str) -> None:
    """Of images so large for the model that their files are decoded at a part of their size."""
    data = pixel_true()
    data.save(tmp_path / "copy", format)
    copy = mrcnn.load_dataset(tmp_path / "copy", classes=data.class_names)
    for ours, theirs in zip(batches(data), batches(copy), strict=True):
        assert set(ours) == set(theirs) and ours["gt_valid"].any()
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
