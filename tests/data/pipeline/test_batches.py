from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.pipeline import DataConfig, Share, make_pipeline
from mrcnn.inference.prepare import make_batch, prepare_image
from mrcnn.modeling.input import content_window
from mrcnn.ops.rotated_boxes import rotated_bounds
from mrcnn.preprocessing import InputConfig, preprocess
from mrcnn.structures.records import Annotation
from mrcnn.weights.profiles import PROFILES
from tests.data.pipeline.rectangles import CROP, INPUT, SMALL, Rectangles, arrays

NOT_AUGMENTED = DataConfig(flip_horizontal=0.0)


def test_the_largest_objects_are_kept_and_it_is_said_once(caplog) -> None:
    dataset = Rectangles(1)
    boxes = [(0.0, 0.0, 2.0 + k, 2.0 + k) for k in range(9)]
    annotations = [Annotation(1, box) for box in boxes] + [Annotation(1, (0.0, 0.0, 30.0, 60.0), is_crowd=True)]
    for i in range(3):
        dataset.add_image("x", i, None, height=30, width=60, annotations=annotations)
    own_size = InputConfig(short_side=1, long_side=100, never_shrink_for_short=True)
    with caplog.at_level(logging.WARNING, "mrcnn"):
        batch = next(iter(make_pipeline(dataset, own_size, SMALL, 4, training=False)))
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
        for batch in make_pipeline(dataset, INPUT, config, 3, training=training).as_numpy_iterator():
            assert np.isfinite(batch["gt_boxes"]).all()
            if not training:
                assert batch["gt_crowd"][1].tolist() == [False, True, False, False]
                assert batch["gt_valid"].sum(axis=1).tolist() == [0, 2, 1]
                assert batch["gt_masks"][1, 0].all()


def test_any_other_error_of_a_subclass_names_the_image() -> None:
    class Broken(Rectangles):
        def load_image(self, index: int) -> np.ndarray:
            raise KeyError("lost")

    with pytest.raises(tf.errors.InvalidArgumentError, match=r"image 100.*KeyError: 'lost'"):
        next(iter(make_pipeline(Broken(1), INPUT, SMALL, 1, training=True)))


def test_rotated_boxes_are_those_of_the_masks_in_the_padded_image() -> None:
    config, center = dataclasses.replace(SMALL, rotated_boxes=True), dataclasses.replace(INPUT, padding="center")
    for model_input in (INPUT, center):
        for batch in make_pipeline(Rectangles(4), model_input, config, 2, training=False):
            valid, boxes = batch["gt_valid"].numpy(), batch["gt_boxes"].numpy()
            rotated = batch["gt_rotated_boxes"].numpy()
            assert rotated.shape == (*boxes.shape[:2], 5) and not rotated[~valid].any()
            bounds = rotated_bounds(rotated[valid]).numpy()  # a rectangle's own
            np.testing.assert_allclose(bounds, boxes[valid], atol=1)


def test_full_masks_lie_in_the_padded_image() -> None:
    config = dataclasses.replace(SMALL, full_masks=True)
    pipeline = make_pipeline(Rectangles(4), INPUT, config, 2, training=False)
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
    without = {int(b["image_id"][0]): b for b in arrays(make_pipeline(data, INPUT, plain, 1, training=True), 8)}
    added = 0
    for batch in arrays(make_pipeline(data, INPUT, config, 1, training=True), 8):
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
    again = arrays(make_pipeline(data, INPUT, config, 1, training=True, workers=1), 8)
    for one, two in zip(again, arrays(make_pipeline(data, INPUT, config, 1, training=True), 8), strict=True):
        for name, value in one.items():
            np.testing.assert_array_equal(value, two[name], err_msg=name)


INPUTS = {
    **{name: profile.input for name, profile in PROFILES.items()},
    "mrcnn": InputConfig(),
    "center on a divisor": InputConfig(padding="center", rounding="floor"),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Dataset:
    """Noise as PNG and JPEG in three sizes, with one object that fills the image."""
    dataset, rng = Dataset(), np.random.default_rng(0)
    dataset.add_class("x", 1, "thing")
    for h, w in ((111, 300), (300, 87), (64, 96)):
        noise = Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8))
        for suffix in ("png", "jpg"):
            path = tmp_path_factory.mktemp("noise") / f"noise.{suffix}"
            noise.save(path)
            thing = Annotation(1, (0.0, 0.0, float(h), float(w)))
            dataset.add_image("x", len(dataset), path, height=h, width=w, annotations=[thing])
    return dataset


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("training", [True, False])
def test_an_image_that_is_not_augmented_is_what_inference_sees(files: Dataset, name: str, training: bool) -> None:
    """Bit for bit: pixels, dtype, size of the canvas, size and position of the image on it."""
    model_input = dataclasses.replace(INPUTS[name], short_side=48, long_side=80)
    seen = []
    for batch in make_pipeline(files, model_input, NOT_AUGMENTED, training=training).as_numpy_iterator():
        number = int(batch["image_id"][0])
        item = prepare_image(files.record(number).path, number, model_input)
        for key, value in make_batch([item]).items():
            assert batch[key].dtype == value.numpy().dtype, key
            np.testing.assert_array_equal(batch[key], value, err_msg=key)
        (y, x), (h, w) = item.origin, item.content_shape
        np.testing.assert_allclose(batch["gt_boxes"][0, 0], [y, x, y + h, x + w], atol=1e-4)
        window = content_window(batch["image"].shape[1:3], tf.constant(batch["content_shape"]), model_input)
        np.testing.assert_array_equal(window[0], [y, x, y + h, x + w])
        seen.append(number)
    assert sorted(seen) == list(range(6))


class Sizes(Dataset):
    """Noise of five sizes."""

    sizes = ((60, 90), (64, 64), (50, 120), (90, 60), (30, 200))

    def __init__(self) -> None:
        super().__init__()
        self.add_class("x", 1, "thing")
        for i, (h, w) in enumerate(self.sizes):
            self.add_image("x", i, None, height=h, width=w)

    def load_image(self, index: int) -> np.ndarray:
        return np.random.default_rng(index).integers(0, 256, (*self.sizes[index], 3), dtype=np.uint8)


@pytest.mark.parametrize("padding", ["corner", "center"])
@pytest.mark.parametrize("training", [True, False])
def test_images_of_several_sizes_lie_on_the_canvas_of_inference(padding: str, training: bool) -> None:
    data, model_input = Sizes(), dataclasses.replace(INPUT, padding=padding)
    items = [prepare_image(data.load_image(i), i, model_input) for i in range(len(data))]
    assert len({item.image.shape for item in items}) > 2
    for batch in make_pipeline(data, model_input, NOT_AUGMENTED, training=training).as_numpy_iterator():
        np.testing.assert_array_equal(batch["image"][0], items[batch["image_id"][0]].image)
    for batch in make_pipeline(data, model_input, NOT_AUGMENTED, 4, training=training).as_numpy_iterator():
        own = [items[number] for number in batch["image_id"]]
        assert batch["image"].shape[1:] == tuple(np.max([item.image.shape for item in own], axis=0))
        for row, item in enumerate(own):
            alone = preprocess(data.load_image(item.number), model_input, out=np.zeros_like(batch["image"][row]))
            np.testing.assert_array_equal(batch["image"][row], alone.image)


def test_parts_of_a_batch_have_its_canvas() -> None:
    whole, *parts = (
        arrays(make_pipeline(Sizes(), INPUT, NOT_AUGMENTED, 2, training=True, repeat=True, share=share), 6)
        for share in (Share(), Share(2, 0, 1), Share(2, 1, 1))
    )
    for batch, *rows in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(np.concatenate([row["image"] for row in rows]), batch["image"])


def test_objects_move_with_a_centered_image() -> None:
    """As in the corner, but for the shift: boxes, joints that are labeled, masks; in a batch of several sizes too."""
    dataset = Dataset()
    dataset.add_class("x", 1, "thing")
    dataset.keypoint_names = ("left", "right")
    joints = np.array([[12, 6, 2], [0, 0, 0]], np.float32)
    for i, (h, w) in enumerate([(20, 60), (30, 50)]):
        thing = Annotation(1, (5.0, 10.0, 15.0, 40.0), keypoints=joints)
        dataset.add_image("x", i, None, height=h, width=w, annotations=[thing])
    dataset.load_image = lambda index: np.full((*dataset.image_shape(index), 3), 100 + index, np.uint8)
    config = dataclasses.replace(NOT_AUGMENTED, num_joints=2, full_masks=True, max_instances=3)
    corner, center = (
        next(make_pipeline(dataset, InputConfig(32, 64, padding=p), config, 2, training=True).as_numpy_iterator())
        for p in ("corner", "center")
    )
    assert corner["image"].shape == center["image"].shape == (2, 32, 64, 3)
    for row in range(2):
        h, w = center["content_shape"][row]
        y, x = (32 - h) // 2, (64 - w) // 2
        assert (y, x) != (0, 0)
        moved = np.roll(corner["image"][row], (y, x), (0, 1))
        np.testing.assert_array_equal(center["image"][row], moved)
        np.testing.assert_allclose(center["gt_boxes"][row, 0], corner["gt_boxes"][row, 0] + [y, x, y, x], atol=1e-5)
        np.testing.assert_allclose(
            center["gt_keypoints"][row, 0, 0], corner["gt_keypoints"][row, 0, 0] + [x, y, 0], atol=1e-5
        )
        assert not center["gt_keypoints"][row, 0, 1].any()
        full = np.roll(corner["gt_full_masks"][row], (y, x), (1, 2))
        np.testing.assert_array_equal(center["gt_full_masks"][row], full)
        assert not center["gt_boxes"][row, 1:].any() and not center["gt_keypoints"][row, 1:].any()
    np.testing.assert_array_equal(center["gt_masks"], corner["gt_masks"])


def test_the_largest_scale_fits_the_canvas_of_its_group() -> None:
    """Scales above the model's own, with and without a crop, on canvases of every kind."""
    config = dataclasses.replace(SMALL, short_sides=(24, 48), scale_jitter=(0.8, 1.3), rotate90=0.5)
    for canvas, padding in (("divisor", "corner"), ("square", "center")):
        model_input = dataclasses.replace(INPUT, canvas=canvas, padding=padding)
        for crop in (None, (40, 30)):
            cropped = dataclasses.replace(config, crop=crop)
            for batch in arrays(make_pipeline(Rectangles(6), model_input, cropped, training=True, repeat=True), 12):
                assert (batch["content_shape"] <= batch["image"].shape[1:3]).all()
                assert crop is None or batch["image"].shape[1:3] == (64, 32)


class Halves(Rectangles):
    """Stuff 1 above, 2 below; what is a thing says so."""

    def load_semantic(self, index: int) -> np.ndarray:
        height, width = self.image_shape(index)
        values = np.repeat([[1], [2]], (height // 2, height - height // 2), axis=0).astype(np.uint8).repeat(width, 1)
        for a in self.annotations(index):
            y1, x1, y2, x2 = (round(side) for side in a.box)
            values[y1:y2, x1:x2] = 0
        return values


@pytest.mark.parametrize("training", [False, True])
def test_semantic_maps_lie_under_their_objects(training: bool) -> None:
    dataset = Halves(2)
    dataset.stuff_names = ("above", "below")
    config = dataclasses.replace(SMALL, semantic_maps=True, flip_horizontal=1.0, full_masks=True)
    batch = next(make_pipeline(dataset, INPUT, config, 2, training=training).as_numpy_iterator())
    semantic = batch["gt_semantic"]
    assert semantic.shape == batch["image"].shape[:3] and semantic.dtype == np.uint8
    for row, (height, width) in enumerate(batch["content_shape"]):
        assert (semantic[row, height:] == 255).all() and (semantic[row, :, width:] == 255).all()
        inside = semantic[row, :height, :width]
        assert set(np.unique(inside)) <= {0, 1, 2}
        objects = batch["gt_full_masks"][row].any(axis=0)[:height, :width]
        assert np.mean((inside == 0) == objects) > 0.98  # but for the objects' edges
        assert not (inside[: height // 2 - 1] == 2).any() and not (inside[height // 2 + 1 :] == 1).any()
    without = make_pipeline(dataset, INPUT, config, 2, training=training, with_ground_truth=False)
    assert "gt_semantic" not in without.element_spec


def test_semantic_maps_of_a_set_without_stuff_are_refused() -> None:
    config = dataclasses.replace(SMALL, semantic_maps=True)
    with pytest.raises(DataError, match=r"data\.semantic_maps is set, but the set has no stuff_names"):
        make_pipeline(Rectangles(1), INPUT, config, training=True)
