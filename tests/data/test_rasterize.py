from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mrcnn.data import rasterize
from mrcnn.data.errors import DataError
from mrcnn.structures.instances import Instances
from mrcnn.structures.records import Annotation
from tests.reference import rle as reference


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


def test_rle_equals_the_slow_reference_and_round_trips(rng: np.random.Generator) -> None:
    for share in (0.0, 0.02, 0.5, 1.0):
        for height, width in ((1, 1), (1, 9), (13, 1), (17, 23), (300, 200)):
            mask = rng.random((height, width)) < share
            rle = rasterize.mask_to_rle(mask)
            counts = reference.decode_string(rle["counts"])
            np.testing.assert_array_equal(rasterize.decode_counts(rle["counts"]), counts)
            np.testing.assert_array_equal(reference.decode_runs(counts, height, width), mask)
            for form in (rle["counts"], rle["counts"].encode(), counts):
                np.testing.assert_array_equal(rasterize.rle_to_mask({"size": [height, width], "counts": form}), mask)


@pytest.mark.parametrize(
    "rle, reason",
    [
        ({"size": [5, 4], "counts": [20]}, r"size \[5, 4\], expected \[4, 5\]"),
        ({"size": [4, 5], "counts": [19]}, "sum to 19"),
        ({"size": [4, 5], "counts": [30, -10]}, "negative"),
        ({"size": [4, 5], "counts": "k"}, "cut off"),
        ({"size": [4, 5], "counts": "\n"}, "outside the encoding"),
        ({"size": [4, 5]}, "counts"),
        ({"size": "x", "counts": []}, "size"),
        ({"size": [4, 5], "counts": [1.5]}, "integers"),
    ],
)
def test_rle_that_does_not_fit_is_refused(rle: dict, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        rasterize.rle_to_mask(rle, 4, 5)


def test_window_is_tight_and_equal_to_the_full_mask(rng: np.random.Generator) -> None:
    for _ in range(50):
        polygons = random_polygons(rng, 30, 40)
        full = rasterize.polygons_to_mask(polygons, 30, 40)
        for segmentation in (polygons, rasterize.mask_to_rle(full)):
            found = rasterize.mask_window(Annotation(1, (0, 0, 30, 40), segmentation), 30, 40)
            pasted = np.zeros_like(full)
            top, left, bottom, right = map(int, found.window)
            if bottom > top:
                pasted[top:bottom, left:right] = found.bits
                assert found.bits.any(axis=0)[[0, -1]].all()
                assert found.bits.any(axis=1)[[0, -1]].all()
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


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (9, 13), (64, 48)])
def test_encoded_masks_equal_pycocotools(shape):
    rng = np.random.default_rng(1)
    masks = np.stack([rng.random(shape) < p for p in (0, 0.02, 0.1, 0.5, 0.9, 1)] + [np.tri(*shape, dtype=bool)])
    masks = np.concatenate([masks, masks[:, ::-1], ~masks])
    expected = coco_mask.encode(np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8)))
    n = len(masks)
    whole = Instances(np.tile([0, 0, *shape], (n, 1)), np.ones(n), shape, masks=masks)
    assert [(m["size"], m["counts"].encode()) for m in rasterize.encode_masks(whole)] == [
        (e["size"], e["counts"]) for e in expected
    ]
    assert rasterize.encode_masks(whole[:0]) == []


def test_a_mask_known_by_its_window_is_encoded_as_the_whole(rng):
    for top, left, h, w in [(0, 0, 9, 13), (3, 2, 4, 5), (0, 12, 9, 1), (5, 0, 4, 13), (2, 2, 0, 0)]:
        bits = rng.random((h, w)) < 0.6
        mask = np.zeros((9, 13), bool)
        mask[top : top + h, left : left + w] = bits
        assert rasterize.window_to_rle(top, left, bits, 9, 13) == rasterize.mask_to_rle(mask)
