from __future__ import annotations

import dataclasses
import itertools
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mrcnn.base_config import ConfigError
from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.formats.coco import load_coco
from mrcnn.data.pipeline import DataConfig, Share, images_in_work, make_pipeline, steps_per_epoch
from mrcnn.structures.masks import paste_masks
from mrcnn.structures.records import Annotation
from mrcnn.structures.tensors import batch_spec

SMALL = DataConfig(short_sides=(32,), long_side=64, max_instances=4, mask_side=14, flip_horizontal=0.0)
CROP = dataclasses.replace(
    SMALL,
    crop=(32, 32),
    scale_jitter=(0.5, 2.0),
    flip_horizontal=0.5,
    flip_vertical=0.5,
    rotate90=0.5,
    brightness=0.2,
    contrast=0.2,
    saturation=0.2,
    hue=0.05,
)


class Rectangles(Dataset):
    """Image i is gray level i and has i % 4 objects; odd ones are portrait."""

    def __init__(self, count: int = 6, string_ids: bool = False) -> None:
        super().__init__()
        self.add_class("x", 1, "thing")
        for i in range(count):
            h, w = (60, 30) if i % 2 else (30, 60)
            boxes = [(3.0 + k, 2.0, 20.0, 20.0 + k) for k in range(i % 4)]
            annotations = [Annotation(1, box, annotation_id=k) for k, box in enumerate(boxes)]
            image_id = f"p{i}" if string_ids else 100 + i
            self.add_image("x", image_id, None, height=h, width=w, annotations=annotations)

    def load_image(self, index: int) -> np.ndarray:
        return np.full((*self.image_shape(index), 3), index, np.uint8)


def ids(batches) -> list[list[int]]:
    return [b["image_id"].numpy().tolist() for b in batches]


def flat(batches: list[list[int]]) -> list[int]:
    return list(itertools.chain.from_iterable(batches))


@pytest.mark.parametrize("config", [SMALL, CROP, dataclasses.replace(SMALL, num_joints=3)])
@pytest.mark.parametrize("with_ground_truth", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_batches_are_as_batch_spec_states(config: DataConfig, with_ground_truth: bool, training: bool) -> None:
    pipeline = make_pipeline(Rectangles(), config, 2, training=training, with_ground_truth=with_ground_truth)
    for batch in pipeline:
        b, h, w, _ = batch["image"].shape
        spec = batch_spec(b, h, w, 4, 14, config.num_joints, with_ground_truth=with_ground_truth)
        assert batch.keys() == spec.keys()
        for name, tensor in spec.items():
            assert tensor.is_compatible_with(batch[name]), name
        assert h % 32 == w % 32 == 0
        content = batch["content_shape"].numpy()
        for image, (ch, cw) in zip(batch["image"].numpy(), content, strict=True):
            assert not image[ch:].any()
            assert not image[:, cw:].any()
        if with_ground_truth:
            boxes, valid = batch["gt_boxes"].numpy(), batch["gt_valid"].numpy()
            assert not boxes[~valid].any()
            sides = boxes[valid][:, 2:] - boxes[valid][:, :2]
            assert (sides > 0).all()
            assert (boxes >= 0).all()
            assert (boxes[..., 2:] <= content[:, None] + 1e-4).all()
            assert set(np.unique(batch["gt_masks"])) <= {0, 1}
            assert (batch["gt_class_ids"].numpy()[valid] == 1).all()


def test_static_shapes() -> None:
    assert make_pipeline(Rectangles(), CROP, 2, training=True, repeat=True).element_spec["image"].shape == (
        2,
        32,
        32,
        3,
    )
    open_spec = make_pipeline(Rectangles(), SMALL, 2, training=True).element_spec["image"].shape
    assert open_spec.as_list() == [None, None, None, 3]
    shapes = {
        tuple(b["image"].shape[1:3]) for b in make_pipeline(Rectangles(), SMALL, 2, training=True, repeat=True).take(9)
    }
    assert shapes == {(32, 64), (64, 32)}


def test_evaluation_gives_every_image_once_unchanged() -> None:
    for config in (SMALL, CROP):
        pipeline = make_pipeline(Rectangles(7), config, 2, training=False)
        found = ids(pipeline)
        assert found == [[100, 102], [101, 103], [104, 106], [105]]  # by aspect, in order, last batch kept
        assert ids(pipeline) == found
        assert pipeline.cardinality().numpy() == 4
        batch = next(iter(pipeline))
        assert batch["original_shape"].numpy().tolist() == [[30, 60], [30, 60]]
        assert batch["content_shape"].numpy().tolist() == [[32, 64], [32, 64]]
    assert steps_per_epoch(Rectangles(7), 2) == 4


def test_boxes_scale_with_the_image() -> None:
    batch = next(iter(make_pipeline(Rectangles(3), SMALL, 2, training=False)))
    boxes, valid = batch["gt_boxes"].numpy(), batch["gt_valid"].numpy()
    assert valid.sum(axis=1).tolist() == [0, 2]  # an image without objects is kept
    np.testing.assert_allclose(boxes[1, 0], np.array([3, 2, 20, 20]) * 32 / 30, rtol=1e-5)
    assert batch["gt_masks"].numpy()[1, :2].all()


def test_same_seed_same_batches_whatever_the_workers() -> None:
    def run(**options) -> list[dict[str, np.ndarray]]:
        pipeline = make_pipeline(Rectangles(), CROP, 2, training=True, repeat=True, **options)
        return list(pipeline.take(7).as_numpy_iterator())

    first = run(seed=5, workers=1)
    for again in (run(seed=5, workers=4), run(seed=5)):
        for a, b in zip(first, again, strict=True):
            for name in a:
                np.testing.assert_array_equal(a[name], b[name])
    other = run(seed=6)
    assert any((a["seed"] != b["seed"]).any() for a, b in zip(first, other, strict=True))
    # 3 batches an epoch: an epoch later the run is where a resumed one starts.
    for a, b in zip(first[3:], run(seed=5, start_epoch=1), strict=False):
        np.testing.assert_array_equal(a["image"], b["image"])


def test_epochs_differ_and_cover_the_set() -> None:
    pipeline = make_pipeline(Rectangles(12), SMALL, 4, training=True)
    first, second = ids(pipeline), ids(pipeline)
    assert sorted(flat(first)) == sorted(flat(second)) == list(range(100, 112))
    assert first != second
    assert all(len({i % 2 for i in batch}) == 1 for batch in first)  # aspects apart
    endless = ids(make_pipeline(Rectangles(5), SMALL, 2, training=True, repeat=True).take(50))
    counts = np.bincount(np.ravel(endless) - 100)
    assert counts.min() >= 18
    assert counts.max() <= 22
    assert len({tuple(b["seed"].numpy().ravel()) for b in pipeline}) == 4


def test_remainders() -> None:
    assert [len(b) for b in ids(make_pipeline(Rectangles(7), CROP, 3, training=True))] == [3, 3, 1]
    dropped = make_pipeline(Rectangles(7), CROP, 3, training=True, drop_remainder=True)
    assert [len(b) for b in ids(dropped)] == [3, 3]
    assert dropped.element_spec["image"].shape[0] == 3
    with pytest.raises(DataError, match="drop_remainder leaves none"):
        make_pipeline(Rectangles(2), CROP, 3, training=True, drop_remainder=True)


def test_empty_sets_and_images_without_objects() -> None:
    with pytest.raises(DataError, match="no image"):
        make_pipeline(Dataset(), SMALL, 2, training=True)
    kept = dataclasses.replace(SMALL, keep_empty=False)
    assert sorted(flat(ids(make_pipeline(Rectangles(6), kept, 2, training=True)))) == [101, 102, 103, 105]
    assert len(flat(ids(make_pipeline(Rectangles(6), kept, 2, training=False)))) == 6
    with pytest.raises(DataError, match="no image"):
        make_pipeline(Rectangles(1), kept, 2, training=True)


def test_string_ids_become_numbers() -> None:
    assert sorted(flat(ids(make_pipeline(Rectangles(3, string_ids=True), SMALL, 2, training=False)))) == [0, 1, 2]


def test_the_largest_objects_are_kept_and_it_is_said_once(caplog) -> None:
    dataset = Rectangles(1)
    boxes = [(0.0, 0.0, 2.0 + k, 2.0 + k) for k in range(9)]
    annotations = [Annotation(1, box) for box in boxes] + [Annotation(1, (0.0, 0.0, 30.0, 60.0), is_crowd=True)]
    for i in range(3):
        dataset.add_image("x", i, None, height=30, width=60, annotations=annotations)
    config = dataclasses.replace(SMALL, short_sides=(), long_side=100)
    with caplog.at_level(logging.WARNING, "mrcnn"):
        batch = next(iter(make_pipeline(dataset, config, 4, training=False)))
    sides = batch["gt_boxes"].numpy()[1, :, 2]
    assert sorted(sides) == [7, 8, 9, 10]
    assert not batch["gt_crowd"].numpy().any()
    assert len([m for m in caplog.messages if "max_instances" in m]) == 1


def test_crowd_and_one_pixel_objects() -> None:
    dataset = Rectangles(1)
    annotations = [Annotation(1, (5.0, 5.0, 6.0, 6.0)), Annotation(1, (0.0, 0.0, 9.0, 9.0), is_crowd=True)]
    dataset.add_image("x", 1, None, height=30, width=60, annotations=annotations)
    dataset.add_image("x", 2, None, height=1, width=1, annotations=[Annotation(1, (0.0, 0.0, 1.0, 1.0))])
    for config, training in ((SMALL, False), (CROP, True)):
        for batch in make_pipeline(dataset, config, 3, training=training).as_numpy_iterator():
            assert np.isfinite(batch["gt_boxes"]).all()
            if not training:
                assert batch["gt_crowd"][1].tolist() == [False, True, False, False]
                assert batch["gt_valid"].sum(axis=1).tolist() == [0, 2, 1]
                assert batch["gt_masks"][1, 0].all()


@pytest.mark.parametrize("training", [True, False])
def test_masks_lie_where_the_objects_are(data_dir: Path, training: bool) -> None:
    """Nuclei are brighter or darker than what is around them: painted into the batch they must fit the pixels."""
    dataset = load_coco(data_dir / "nuclei_tiny" / "annotations.json")
    bright = dataset.record(0)
    config = DataConfig((), 512, crop=(192, 192), scale_jitter=(0.7, 1.5), rotate90=0.8, max_instances=32, mask_side=56)
    for epoch in range(6):
        for batch in make_pipeline(dataset, config, 2, training=training, start_epoch=epoch).as_numpy_iterator():
            for row in np.flatnonzero(batch["image_id"] == bright.image_id):
                n = int(batch["gt_valid"][row].sum())
                image = batch["image"][row, ..., 0].astype(float)
                h, w = batch["content_shape"][row]
                pasted = paste_masks(
                    batch["gt_masks"][row, :n].astype(np.float32), batch["gt_boxes"][row, :n], *image.shape
                )
                inside = pasted.any(axis=0)[:h, :w]
                assert n > 0
                assert image[:h, :w][inside].mean() > 1.5 * image[:h, :w][~inside].mean()


def test_joints_swap_when_mirrored(tmp_path: Path) -> None:
    dataset = Dataset()
    dataset.add_class("x", 1, "person")
    dataset.keypoint_names = ("left_hand", "right_hand")
    points = np.array([[2, 5, 2], [18, 6, 1]], np.float32)
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    annotation = Annotation(1, (0, 0, 10, 20), keypoints=points)
    dataset.add_image("x", 1, tmp_path / "a.png", annotations=[annotation])
    config = dataclasses.replace(SMALL, short_sides=(), flip_horizontal=1.0, num_joints=2)
    batch = next(iter(make_pipeline(dataset, config, 1, training=True)))
    assert batch["gt_keypoints"].numpy()[0, 0].tolist() == [[2, 6, 1], [18, 5, 2]]
    assert not batch["gt_keypoints"].numpy()[0, 1:].any()


def test_a_bad_image_stops_the_first_step_and_is_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.png")
    whole = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    dataset = Dataset()
    dataset.add_class("x", 1, "thing")
    dataset.add_image("x", 77, tmp_path / "cut.png", height=64, width=64)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"DataError.*cut\.png.*\[image id 77\]"):
        next(iter(make_pipeline(dataset, SMALL, 1, training=True)))


@pytest.mark.parametrize(
    "annotation, reason",
    [
        (Annotation(5, (0, 0, 5, 5), annotation_id=9), "image 100, annotation 9: class id 5, expected 1..1"),
        (Annotation(1, (0, 0, float("nan"), 5), annotation_id=9), "image 100, annotation 9: box .* not finite"),
        (Annotation(1, (0, 0, 5, 5), {"size": [2, 2], "counts": [4]}, annotation_id=9), "annotation 9: RLE of size"),
    ],
)
def test_bad_annotations_given_by_hand_are_named(annotation: Annotation, reason: str) -> None:
    dataset = Dataset()
    dataset.add_class("x", 1, "thing")
    dataset.add_image("x", 100, None, height=30, width=60, annotations=[annotation])
    dataset.load_image = lambda index: np.zeros((30, 60, 3), np.uint8)
    with pytest.raises(tf.errors.InvalidArgumentError, match=reason):
        next(iter(make_pipeline(dataset, SMALL, 1, training=True)))


def test_any_other_error_of_a_subclass_names_the_image() -> None:
    class Broken(Rectangles):
        def load_image(self, index: int) -> np.ndarray:
            raise KeyError("lost")

    with pytest.raises(tf.errors.InvalidArgumentError, match=r"image 100.*KeyError: 'lost'"):
        next(iter(make_pipeline(Broken(1), SMALL, 1, training=True)))


@pytest.mark.parametrize(
    "changes",
    [
        {"long_side": 0},
        {"crop": (0, 5)},
        {"scale_jitter": (0.0, 1.0)},
        {"scale_jitter": (2.0, 1.0)},
        {"flip_horizontal": 1.5},
        {"brightness": -0.1},
        {"short_sides": (0,)},
        {"copy_paste": 2.0},
    ],
)
def test_settings_are_checked(changes: dict) -> None:
    with pytest.raises(ConfigError, match="data"):
        dataclasses.replace(SMALL, **changes)
    assert DataConfig.from_dict(CROP.to_dict()) == CROP


def test_a_process_with_a_live_endless_pipeline_ends() -> None:
    code = (
        "from tests.data.test_pipeline import *\n"
        "it = iter(make_pipeline(Rectangles(), CROP, 2, training=True, repeat=True)); next(it)"
    )
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": str(root), "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, check=True, timeout=120)


def _arrays(data: tf.data.Dataset, num: int) -> list[dict[str, np.ndarray]]:
    return list(data.take(num).as_numpy_iterator())


def test_a_run_resumes_at_any_batch() -> None:
    whole = _arrays(make_pipeline(Rectangles(7), CROP, 3, training=True, seed=5, repeat=True), 9)
    for start in (0, 1, 4, 8):
        rest = make_pipeline(Rectangles(7), CROP, 3, training=True, seed=5, repeat=True, start_batch=start)
        for batch, wanted in zip(_arrays(rest, 9 - start), whole[start:], strict=True):
            for key, value in wanted.items():
                np.testing.assert_array_equal(batch[key], value, err_msg=key)


def test_shares_put_together_are_the_batches() -> None:
    whole = _arrays(make_pipeline(Rectangles(7), CROP, 4, training=True, repeat=True), 5)
    # One machine with two devices, then two machines with one device each
    both = _arrays(make_pipeline(Rectangles(7), CROP, 4, training=True, repeat=True, share=Share(4, 0, 2)), 10)
    third = _arrays(make_pipeline(Rectangles(7), CROP, 4, training=True, repeat=True, share=Share(4, 2, 1)), 5)
    last = _arrays(make_pipeline(Rectangles(7), CROP, 4, training=True, repeat=True, share=Share(4, 3, 1)), 5)
    for i, batch in enumerate(whole):
        parts = [both[2 * i], both[2 * i + 1], third[i], last[i]]
        for key, value in batch.items():
            np.testing.assert_array_equal(np.concatenate([part[key] for part in parts]), value, err_msg=key)


def test_shares_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="a batch of 3 images cannot be cut into 2 equal parts"):
        make_pipeline(Rectangles(7), CROP, 3, training=True, repeat=True, share=Share(2, 0, 1))
    with pytest.raises(ValueError, match="need repeat=True"):
        make_pipeline(Rectangles(7), CROP, 2, training=True, start_batch=1)


def test_rare_classes_are_shown_more_often() -> None:
    """One image of ten has the rare class: sqrt(0.4 / 0.1) = 2 times; the others' class is on all: once."""
    dataset = Dataset()
    dataset.add_class("x", 1, "common")
    dataset.add_class("x", 2, "rare")
    for i in range(10):
        annotations = [Annotation(1, (5.0, 5.0, 20.0, 20.0))]
        if i == 3:
            annotations.append(Annotation(2, (5.0, 30.0, 20.0, 50.0)))
        dataset.add_image("x", i, None, height=30, width=60, annotations=annotations)
    noise = np.random.default_rng(0).integers(0, 255, (30, 60, 3), dtype=np.uint8)
    dataset.load_image = lambda index: noise
    config = dataclasses.replace(CROP, repeat_threshold=0.4)
    batches = _arrays(make_pipeline(dataset, config, 11, training=True, repeat=True), 6)
    for batch in batches:
        assert np.bincount(batch["image_id"], minlength=10).tolist() == [1, 1, 1, 2, 1, 1, 1, 1, 1, 1]
        twice = np.flatnonzero(batch["image_id"] == 3)
        assert (batch["seed"][twice[0]] != batch["seed"][twice[1]]).any()


def test_an_image_that_takes_long_is_named() -> None:
    entered, leave = threading.Event(), threading.Event()

    class Slow(Rectangles):
        def load_image(self, index: int) -> np.ndarray:
            entered.set()
            leave.wait(30)
            return super().load_image(index)

    iterator = iter(make_pipeline(Slow(1), SMALL, 1, training=True))
    thread = threading.Thread(target=lambda: next(iterator))
    thread.start()
    assert entered.wait(30)
    names = [name for name, _ in images_in_work()]
    leave.set()
    thread.join()
    assert names == ["image 100 (None)"]
    assert images_in_work() == []


def test_full_masks_lie_in_the_padded_image() -> None:
    config = dataclasses.replace(SMALL, full_masks=True)
    pipeline = make_pipeline(Rectangles(4), config, 2, training=False)
    for batch in pipeline:
        masks, boxes = batch["gt_full_masks"].numpy(), batch["gt_boxes"].numpy()
        assert masks.shape == (*boxes.shape[:2], *batch["image"].shape[1:3])
        for image, valid in enumerate(batch["gt_valid"].numpy()):
            grids = batch["gt_masks"][image].numpy()[valid]  # the same masks, in their boxes
            for mask, grid, (y1, x1, y2, x2) in zip(masks[image][valid], grids, boxes[image][valid], strict=True):
                assert abs(mask.sum() - grid.mean() * (y2 - y1) * (x2 - x1)) <= (y2 - y1) + (x2 - x1)
                rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
                np.testing.assert_allclose(
                    [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1], [y1, x1, y2, x2], atol=1
                )
            assert not masks[image][~valid].any()


def test_copy_paste_adds_objects_of_other_images() -> None:
    """Image i is gray level i all over, so pasted pixels tell where they came from."""
    data = Rectangles(8)
    plain = dataclasses.replace(SMALL, max_instances=8)
    config = dataclasses.replace(plain, copy_paste=1.0)
    without = {int(b["image_id"][0]): b for b in _arrays(make_pipeline(data, plain, 1, training=True), 8)}
    added = 0
    for batch in _arrays(make_pipeline(data, config, 1, training=True), 8):
        number = int(batch["image_id"][0]) - 100
        height, width = batch["content_shape"][0]
        image = batch["image"][0, :height, :width, 0]
        others = set(np.unique(image).tolist()) - {number}
        assert len(others) <= 1
        before, after = (int(b["gt_valid"].sum()) for b in (without[number + 100], batch))
        if others:
            covered = image != number
            boxes = batch["gt_boxes"][0][batch["gt_valid"][0]]
            inside = np.zeros_like(covered)
            for y1, x1, y2, x2 in np.rint(boxes).astype(int):
                inside[y1:y2, x1:x2] = True
            assert inside[covered].all()  # every pasted pixel belongs to an object
            added += after > before or covered.any()
        np.testing.assert_array_equal(batch["gt_valid"][0], np.arange(8) < after)
    assert added >= 3
    again = _arrays(make_pipeline(data, config, 1, training=True, workers=1), 8)
    for one, two in zip(again, _arrays(make_pipeline(data, config, 1, training=True), 8), strict=True):
        for name, value in one.items():
            np.testing.assert_array_equal(value, two[name], err_msg=name)


def test_training_reads_large_jpegs_at_a_part_of_their_size(tmp_path: Path) -> None:
    """The same image as a PNG, which is read whole, gives the same boxes and, but for the JPEG, the same pixels."""
    y, x = np.mgrid[:241, :399]
    smooth = np.stack([y, x // 2, 200 - x // 2], axis=-1).astype(np.uint8)
    batches = []
    for suffix in ("png", "jpg"):
        data = Dataset()
        data.add_class("x", 1, "thing")
        path = tmp_path / f"p.{suffix}"
        Image.fromarray(smooth).save(path, quality=98)
        box = Annotation(1, (60.0, 80.0, 200.0, 320.0))
        data.add_image("x", 1, path, width=399, height=241, annotations=[box])
        config = dataclasses.replace(SMALL, scale_jitter=(0.8, 1.2))
        read = []
        whole = data._read
        data._read = lambda index, least=None, whole=whole, read=read: read.append(whole(index, least)) or read[-1]
        batches.append(_arrays(make_pipeline(data, config, 1, training=True, repeat=True, workers=1), 3))
        assert read[0].shape[0] == (241 if suffix == "png" else 61)
        assert next(iter(make_pipeline(data, SMALL, 1, training=False)))["original_shape"][0].numpy().tolist() == [
            241,
            399,
        ]
        assert read[-1].shape[0] == 241  # where nothing is random, as `detect` reads it
    for png, jpg in zip(*batches, strict=True):
        for name in ("content_shape", "original_shape", "gt_valid", "gt_masks"):
            np.testing.assert_array_equal(jpg[name], png[name], err_msg=name)
        np.testing.assert_allclose(jpg["gt_boxes"], png["gt_boxes"], atol=0.5)
        np.testing.assert_allclose(jpg["image"].astype(int), png["image"], atol=12)
