from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mrcnn.data import rasterize
from mrcnn.structures.records import Annotation


def random_polygons(rng: np.random.Generator, height: int, width: int) -> list[np.ndarray]:
    return [
        rng.uniform(-2, [width + 2, height + 2], (int(rng.integers(3, 9)), 2)) for _ in range(int(rng.integers(1, 4)))
    ]


def test_square_by_hand() -> None:
    mask = rasterize.polygons_to_mask([np.array([[1, 2], [4, 2], [4, 5], [1, 5]])], 6, 7)
    expected = np.zeros((6, 7), bool)
    expected[2:5, 1:4] = True
    np.testing.assert_array_equal(mask, expected)


def test_polygons_equal_the_coco_api(rng: np.random.Generator) -> None:
    for _ in range(200):
        height, width = rng.integers(3, 40, 2).tolist()
        polygons = [np.clip(p, 0, [width, height]) for p in random_polygons(rng, height, width)]
        rles = coco_mask.frPyObjects([p.ravel().tolist() for p in polygons], height, width)
        expected = coco_mask.decode(coco_mask.merge(rles)).astype(bool)
        np.testing.assert_array_equal(rasterize.polygons_to_mask(polygons, height, width), expected)


def test_polygons_reaching_outside_are_cut(rng: np.random.Generator) -> None:
    square = np.array([[-50.0, -50], [50, -50], [50, 50], [-50, 50]])
    assert rasterize.polygons_to_mask([square], 10, 20).all()
    assert not rasterize.polygons_to_mask([square + 500], 10, 20).any()
    assert not rasterize.polygons_to_mask([square - 500], 10, 20).any()


def test_degenerate_polygons_cover_nothing() -> None:
    assert not rasterize.polygons_to_mask([np.array([[1.0, 1], [5, 5]])], 8, 8).any()
    assert not rasterize.polygons_to_mask([], 8, 8).any()


def test_window_is_tight_and_equal_to_the_full_mask(rng: np.random.Generator) -> None:
    for _ in range(50):
        polygons = random_polygons(rng, 30, 40)
        full = rasterize.polygons_to_mask(polygons, 30, 40)
        for segmentation in (polygons, rasterize.mask_to_rle(full)):
            result = rasterize.mask_window(Annotation(1, (0, 0, 30, 40), segmentation), 30, 40)
            pasted = np.zeros_like(full)
            top, left, bottom, right = map(int, result.window)
            if bottom > top:
                pasted[top:bottom, left:right] = result.bits
                assert result.bits.any(axis=0)[[0, -1]].all()
                assert result.bits.any(axis=1)[[0, -1]].all()
            np.testing.assert_array_equal(pasted, full)


def test_large_objects_come_out_coarse_over_the_same_window() -> None:
    circle = np.array([[2000 + 1200 * np.cos(t), 1500 + 1200 * np.sin(t)] for t in np.linspace(0, 6.28, 60)])
    annotation = Annotation(1, (300, 800, 2700, 3200), [circle])
    coarse = rasterize.mask_window(annotation, 3024, 4032)
    assert max(coarse.bits.shape) <= rasterize.MAX_WINDOW_SIDE
    np.testing.assert_allclose(coarse.window, annotation.box, atol=8)
    assert coarse.bits.mean() == pytest.approx(np.pi / 4, abs=0.01)


def test_450_objects_on_12_megapixels_stay_small(rng: np.random.Generator) -> None:
    stored = 0
    for _ in range(450):
        y, x, r = rng.uniform(500, 2500), rng.uniform(500, 3500), rng.uniform(30, 450)
        t = np.linspace(0, 6.28, 40)
        polygon = np.stack([x + r * np.cos(t), y + r * np.sin(t)], axis=-1)
        stored += rasterize.mask_window(Annotation(1, (y - r, x - r, y + r, x + r), [polygon]), 3024, 4032).bits.nbytes
    assert stored < 120e6


def test_crop_through_a_box() -> None:
    annotation = Annotation(1, (2, 2, 6, 6), [np.array([[2.0, 2], [6, 2], [6, 6], [2, 6]])])
    assert rasterize.annotation_crop(annotation, (2, 2, 6, 6), 8, 10, 10).all()
    half = rasterize.annotation_crop(annotation, (2, 0, 6, 4), 8, 10, 10)
    np.testing.assert_array_equal(half[0], [0, 0, 0, 0, 1, 1, 1, 1])
    assert not rasterize.annotation_crop(annotation, (7, 7, 9, 9), 8, 10, 10).any()
    no_mask = Annotation(1, (2, 2, 6, 6))
    assert rasterize.annotation_crop(no_mask, (2, 2, 6, 6), 4, 10, 10).all()
    assert rasterize.annotation_mask(no_mask, 10, 10).sum() == 16


def test_real_masks(data_dir: Path) -> None:
    data = json.loads((data_dir / "nuclei_tiny" / "annotations.json").read_text())
    for annotation in data["annotations"]:
        expected = coco_mask.decode(annotation["segmentation"]).astype(bool)
        np.testing.assert_array_equal(rasterize.rle_to_mask(annotation["segmentation"]), expected)
        assert rasterize.mask_to_rle(expected) == annotation["segmentation"]
