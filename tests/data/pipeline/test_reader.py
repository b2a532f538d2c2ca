from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mrcnn.data.dataset import Dataset
from mrcnn.data.pipeline import DataConfig, make_pipeline
from mrcnn.structures.records import Annotation
from tests.data.pipeline.rectangles import INPUT, SMALL, arrays


def test_a_bad_image_stops_the_first_step_and_is_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.png")
    whole = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    dataset = Dataset()
    dataset.add_class("x", 1, "thing")
    dataset.add_image("x", 77, tmp_path / "cut.png", height=64, width=64)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"DataError.*cut\.png.*\[image id 77\]"):
        next(iter(make_pipeline(dataset, INPUT, SMALL, 1, training=True)))


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
        next(iter(make_pipeline(dataset, INPUT, SMALL, 1, training=True)))


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
        batches.append(arrays(make_pipeline(data, INPUT, config, 1, training=True, repeat=True, workers=1), 3))
        assert read[0].shape[0] == (241 if suffix == "png" else 61)
        batch = next(iter(make_pipeline(data, INPUT, SMALL, training=False)))
        assert batch["original_shape"][0].numpy().tolist() == [241, 399]
        assert read[-1].shape[0] == 241  # where nothing is random, as `detect` reads it
    for png, jpg in zip(*batches, strict=True):
        for name in ("content_shape", "original_shape", "gt_valid", "gt_masks"):
            np.testing.assert_array_equal(jpg[name], png[name], err_msg=name)
        np.testing.assert_allclose(jpg["gt_boxes"], png["gt_boxes"], atol=0.5)
        np.testing.assert_allclose(jpg["image"].astype(int), png["image"], atol=12)


@pytest.mark.parametrize(
    "config, interpolation, height",
    [
        (dataclasses.replace(SMALL, flip_horizontal=0.5), "antialias_u8", 50),
        (SMALL, "antialias_u8", 200),  # not augmented: the very image that inference sees
        (dataclasses.replace(SMALL, flip_horizontal=0.5), "linear", 200),  # another image without antialiasing
    ],
)
def test_only_antialiased_training_reads_at_a_part_of_the_size(
    tmp_path: Path, config: DataConfig, interpolation: str, height: int
) -> None:
    data = Dataset()
    data.add_class("x", 1, "thing")
    noise = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "p.jpg")
    data.add_image("x", 1, tmp_path / "p.jpg", width=300, height=200)
    read, whole = [], data._read
    data._read = lambda index, least=None: read.append(whole(index, least)) or read[-1]
    model_input = dataclasses.replace(INPUT, interpolation=interpolation)
    next(iter(make_pipeline(data, model_input, config, training=True)))
    assert read[0].shape[0] == height
