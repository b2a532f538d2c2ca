from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mrcnn.inference import detect_tiled
from mrcnn.inference.tiles import tile_frames
from tests.blob_finder import BlobFinder, image


class FullBlobs(BlobFinder):
    """As BlobFinder, but the mask is the whole box."""

    def call(self, batch, training=None):
        result = super().call(batch)
        return result | {"masks": tf.ones_like(result["masks"])}


class Boxes(BlobFinder):
    """Without masks."""

    def call(self, batch, training=None):
        result = super().call(batch)
        return {name: value for name, value in result.items() if name != "masks"}


@pytest.fixture(scope="module")
def model():
    return FullBlobs(100, 100, 4)  # tiles of 100 pixels as they are


def test_tiles_cover_the_image_evenly():
    assert tile_frames(100, 220, 100, 40) == [(0, 0, 100, 100), (0, 60, 100, 160), (0, 120, 100, 220)]
    assert tile_frames(50, 60, 100, 40) == [(0, 0, 50, 60)]
    assert tile_frames(101, 100, 100, 40) == [(0, 0, 100, 100), (1, 0, 101, 100)]
    for size in range(1, 400, 7):
        spans = sorted({(x1, x2) for _, x1, _, x2 in tile_frames(10, size, 60, 25)})
        assert spans[0][0] == 0 and spans[-1][1] == size
        assert all(a[1] - b[0] >= 25 for a, b in itertools.pairwise(spans))
    with pytest.raises(ValueError, match="overlap 100: expected at least 0 and less than the tile's 100"):
        tile_frames(500, 500, 100, 100)


@pytest.mark.parametrize("kind", [FullBlobs, Boxes])
def test_one_object_in_an_overlap_is_one(kind):
    result = detect_tiled(kind(100, 100, 4), image(100, 220, (0, 20, 70, 50, 90)), 100, 40, whole=False)
    assert result.class_ids.tolist() == [1]
    assert result.boxes[0].tolist() == [20, 70, 50, 90]
    if kind is FullBlobs:
        assert result.masks.shape == (1, 100, 220)
        assert result.masks[0, 20:50, 70:90].all() and result.masks[0].sum() == 30 * 20
    else:
        assert result.masks is None


def test_an_object_across_all_tiles_is_joined(model):
    result = detect_tiled(model, image(100, 220, (1, 20, 10, 50, 210)), 100, 40, whole=False)
    assert result.class_ids.tolist() == [2]
    assert result.boxes[0].tolist() == [20, 10, 50, 210]
    assert result.masks[0].sum() == 30 * 200


def test_objects_apart_and_objects_of_other_classes_stay_apart(model):
    blobs = ((0, 20, 5, 50, 15), (0, 20, 200, 50, 210), (2, 20, 5, 50, 15))
    result = detect_tiled(model, image(100, 220, *blobs), 100, 40, 2, whole=False, score_threshold=None)
    assert result.scores.tolist() == pytest.approx([0.9, 0.9, 0.3])
    assert sorted(result.boxes[:, 1].tolist()) == [5, 5, 200]
    assert np.array_equal(result[result.class_ids == 3].masks.sum((1, 2)), [300])


def test_neighbors_in_an_overlap_that_hardly_touch_stay_apart(model):
    """Each tile shows another part of the class' pixels: the left tile a tall bar, the next a wide one."""
    pixels = image(100, 160, (0, 10, 60, 90, 64), (0, 40, 60, 44, 150))
    result = detect_tiled(model, pixels, 100, 40, whole=False)
    # in the common columns 60 to 100 both are one box from row 10 to 90: the same pixels are the same object
    assert len(result) == 1
    apart = image(100, 160, (0, 0, 0, 10, 70), (0, 90, 90, 100, 160))
    assert len(detect_tiled(BlobFinder(100, 100, 4), apart, 100, 40, whole=False)) == 2  # left halves do not meet


def test_the_whole_image_finds_what_no_tile_shows(model):
    pixels = image(400, 400, (0, 0, 0, 400, 400))
    with_whole = detect_tiled(model, pixels, 100, 0)
    assert len(with_whole) == 1
    assert with_whole.masks[0, 16:-16].all()  # the last cell of the mask's grid, 14 pixels, rounds its corners
    assert len(detect_tiled(model, pixels, 100, 0, whole=False)) == 16  # nothing common to compare


def test_blank_small_and_bad_images(model, tmp_path):
    result = detect_tiled(model, image(150, 230), 100, 40)
    assert (result.boxes.shape, result.masks.shape) == ((0, 4), (0, 150, 230))
    small = image(40, 60, (0, 10, 10, 20, 20))
    Image.fromarray(small).save(tmp_path / "small.png")
    assert len(detect_tiled(model, tmp_path / "small.png", 100, 40)) == 1
    with pytest.raises(ValueError, match="40 x 60"):
        detect_tiled(model, small, 100, 40, max_pixels=100)
