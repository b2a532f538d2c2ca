from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mrcnn.data import transforms
from mrcnn.data.augmentations.base import AugmentationConfig
from mrcnn.data.augmentations.color import ColorJitter
from mrcnn.data.dataset import Dataset
from mrcnn.data.formats.coco import load_coco
from mrcnn.data.pipeline import DataConfig, make_pipeline
from mrcnn.data.pipeline.augment import augment
from mrcnn.data.transforms import Sample
from mrcnn.preprocessing import InputConfig
from mrcnn.structures.masks import paste_masks
from mrcnn.structures.records import Annotation
from tests.data.pipeline.rectangles import CROP, INPUT, SMALL, Rectangles


@pytest.mark.parametrize("training", [True, False])
def test_masks_lie_where_the_objects_are(data_dir: Path, training: bool) -> None:
    """Nuclei are brighter or darker than what is around them: painted into the batch they must fit the pixels."""
    dataset = load_coco(data_dir / "nuclei_tiny" / "annotations.json")
    bright = dataset.record(0)
    config = DataConfig(crop=(192, 192), scale_jitter=(0.7, 1.5), rotate90=0.8, max_instances=32, mask_side=56)
    own_size = InputConfig(short_side=1, long_side=512, never_shrink_for_short=True)
    for epoch in range(6):
        batches = make_pipeline(dataset, own_size, config, 2, training=training, start_epoch=epoch)
        for batch in batches.as_numpy_iterator():
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


@pytest.mark.parametrize("distribution, middle", [("log_uniform", 2.0), ("uniform", 4.25)])
def test_scales_are_drawn_from_the_distribution(distribution: str, middle: float) -> None:
    """Of factors from 1/2 to 8 half are below the geometric mean, or half below the arithmetic one."""
    config = DataConfig(scale_jitter=(0.5, 8.0), scale_distribution=distribution, flip_horizontal=0.0)
    image = np.zeros((8, 8, 3), np.uint8)
    none = {"boxes": np.zeros((0, 4), np.float32), "class_ids": np.zeros(0, np.int32), "is_crowd": np.zeros(0, bool)}
    sample = {"image": image, **none, "windows": np.zeros((0, 4), np.float32), "masks": np.zeros((0, 4, 4), np.uint8)}
    sides = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        view = augment(Sample(**sample), config, InputConfig(short_side=32, long_side=1024), rng, (1024, 1024))
        sides.append(view["image"].shape[0])
    assert min(sides) >= 16 and max(sides) <= 256
    assert abs(np.mean(np.array(sides) < 32 * middle) - 0.5) < 0.1


def test_joints_swap_when_mirrored(tmp_path: Path) -> None:
    dataset = Dataset()
    dataset.add_class("x", 1, "person")
    dataset.keypoint_names = ("left_hand", "right_hand")
    points = np.array([[2, 5, 2], [18, 6, 1]], np.float32)
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    annotation = Annotation(1, (0, 0, 10, 20), keypoints=points)
    dataset.add_image("x", 1, tmp_path / "a.png", annotations=[annotation])
    config = dataclasses.replace(SMALL, flip_horizontal=1.0, num_joints=2)
    batch = next(iter(make_pipeline(dataset, InputConfig(short_side=10, long_side=64), config, 1, training=True)))
    assert batch["gt_keypoints"].numpy()[0, 0].tolist() == [[2, 6, 1], [18, 5, 2]]
    assert not batch["gt_keypoints"].numpy()[0, 1:].any()


@dataclasses.dataclass(frozen=True)
class Halves(AugmentationConfig):
    """Keeps the upper part of an image, or returns something that is wrong."""

    wrong: str = ""

    def apply(self, sample: Sample, rng: np.random.Generator) -> Sample:
        image = sample["image"]
        if self.wrong == "dtype":
            return sample | {"image": image / 2}
        if self.wrong == "larger":
            return sample | {"image": np.repeat(image, 2, axis=0)}
        if self.wrong == "objects":
            return sample | {"class_ids": sample["class_ids"][:0]}
        return transforms.crop(sample, 0, 0, image.shape[0] // 2, image.shape[1])


def test_augmentations_of_a_recipe_are_applied_after_its_fields() -> None:
    config = dataclasses.replace(SMALL, augmentations=(Halves(), ColorJitter(brightness=0.5)))
    again = DataConfig.from_dict(config.to_dict())
    assert again == config
    for batch in make_pipeline(Rectangles(4), INPUT, again, training=True, shuffle=False):
        assert sorted(batch["content_shape"][0].numpy().tolist()) in ([16, 64], [32, 32])
        boxes = batch["gt_boxes"][0].numpy()[batch["gt_valid"][0]]
        assert (boxes[:, 2:] <= batch["content_shape"][0].numpy()).all()
    for batch in make_pipeline(Rectangles(4), INPUT, again, training=False):  # evaluation never augments
        assert sorted(batch["content_shape"][0].numpy().tolist()) == [32, 64]


@pytest.mark.parametrize(
    "wrong, message",
    [
        ("dtype", r"image 103 .*augmentation Halves: returned an image of float64\[64, 32, 3\], expected uint8"),
        ("larger", r"image 103 .*augmentation Halves: returned an image of 128 x 32, .* canvas of 64 x 32"),
        ("objects", r"image 103 .*Halves: returned fields of different numbers of objects: .*'class_ids': 0"),
    ],
)
def test_what_an_augmentation_returns_is_checked(wrong: str, message: str) -> None:
    data = Rectangles(4)
    data._records = data._records[3:]
    data.load_image = lambda index: np.full((60, 30, 3), 3, np.uint8)
    config = dataclasses.replace(SMALL, augmentations=(Halves(wrong),))
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        next(iter(make_pipeline(data, INPUT, config, training=True)))
    with pytest.raises(tf.errors.InvalidArgumentError, match=message.replace("Halves", "apply")):
        next(iter(make_pipeline(data, INPUT, SMALL, training=True, augmentation=Halves(wrong))))


def test_float_images_are_augmented_as_bytes_are() -> None:
    """Pixels that were not rounded by the resize differ from rounded ones by less than a gray level, times contrast."""
    noise = np.random.default_rng(0).integers(0, 255, (30, 60, 3), dtype=np.uint8)
    data = Rectangles(3)
    data.load_image = lambda index: np.ascontiguousarray(noise.transpose(1, 0, 2)) if index % 2 else noise
    config = dataclasses.replace(CROP, copy_paste=0.5)
    floating = make_pipeline(data, dataclasses.replace(INPUT, interpolation="linear"), config, training=True, seed=3)
    cut = make_pipeline(
        data, dataclasses.replace(INPUT, interpolation="linear_black_u8"), config, training=True, seed=3
    )
    for one, two in zip(floating.as_numpy_iterator(), cut.as_numpy_iterator(), strict=True):
        assert one["image"].dtype == np.float32
        assert one["image"].min() >= 0 and one["image"].max() <= 255
        inside = one["image"][:, 1:-1, 1:-1], two["image"][:, 1:-1, 1:-1].astype(np.float32)
        assert np.median(np.abs(inside[0] - inside[1])) < 2
        for name in one.keys() - {"image"}:
            np.testing.assert_array_equal(one[name], two[name], err_msg=name)
