from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mrcnn.data.errors import DataError
from mrcnn.data.rasterize import rle_to_mask
from mrcnn.data.rle import check_rle, decode_counts, encode_masks, mask_to_rle, rle_box, window_to_rle
from mrcnn.structures.instances import Instances
from tests.reference import rle as reference


def test_rle_equals_the_slow_reference_and_round_trips(rng: np.random.Generator) -> None:
    for share in (0.0, 0.02, 0.5, 1.0):
        for height, width in ((1, 1), (1, 9), (13, 1), (17, 23), (300, 200)):
            mask = rng.random((height, width)) < share
            rle = mask_to_rle(mask)
            counts = reference.decode_string(rle["counts"])
            np.testing.assert_array_equal(decode_counts(rle["counts"]), counts)
            np.testing.assert_array_equal(reference.decode_runs(counts, height, width), mask)
            for form in (rle["counts"], rle["counts"].encode(), counts):
                np.testing.assert_array_equal(rle_to_mask({"size": [height, width], "counts": form}), mask)


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
        rle_to_mask(rle, 4, 5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (9, 13), (64, 48)])
def test_encoded_masks_equal_pycocotools(shape):
    rng = np.random.default_rng(1)
    masks = np.stack([rng.random(shape) < p for p in (0, 0.02, 0.1, 0.5, 0.9, 1)] + [np.tri(*shape, dtype=bool)])
    masks = np.concatenate([masks, masks[:, ::-1], ~masks])
    expected = coco_mask.encode(np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8)))
    n = len(masks)
    whole = Instances(np.tile([0, 0, *shape], (n, 1)), np.ones(n), shape, masks=masks)
    assert [(m["size"], m["counts"].encode()) for m in encode_masks(whole)] == [
        (e["size"], e["counts"]) for e in expected
    ]
    assert encode_masks(whole[:0]) == []


def test_a_mask_known_by_its_window_is_encoded_as_the_whole(rng):
    for top, left, h, w in [(0, 0, 9, 13), (3, 2, 4, 5), (0, 12, 9, 1), (5, 0, 4, 13), (2, 2, 0, 0)]:
        bits = rng.random((h, w)) < 0.6
        mask = np.zeros((9, 13), bool)
        mask[top : top + h, left : left + w] = bits
        assert window_to_rle(top, left, bits, 9, 13) == mask_to_rle(mask)


@pytest.mark.parametrize(
    "counts, reason",
    [
        ([2**62] * 4 + [12], "runs sum to 4611686018427387904, expected 3 x 4 = 12"),  # a sum of 64 bits would be 12
        ([10**30], "expected integers"),
        ([[1], [2, 3]], "expected a list of integers"),
        ([[6, 6]], "expected integers"),
        ([True, False], "expected integers"),
        ([6.0, 6.0], "expected integers"),
        ([-1, 13], "a run is negative"),
        ("oooooooooooooooooooo", "longer than any image|cut off"),
        ("\ud800", "not an ASCII string"),
        (None, "expected a string or a list, got NoneType"),
        (12, "expected a string or a list, got int"),
    ],
)
def test_counts_of_any_kind_are_refused_before_pycocotools_sees_them(counts, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        check_rle({"size": [3, 4], "counts": counts}, 3, 4)


@pytest.mark.parametrize("size", [None, 5, "ab", [3], [3, 4, 5], [float("inf"), 4], [-3, -4], {"a": 1}])
def test_sizes_of_any_kind_are_refused(size) -> None:
    with pytest.raises(DataError, match=r"RLE (size|of size)"):
        check_rle({"size": size, "counts": [12]}, 3, 4)


def test_the_box_of_run_lengths_is_that_of_the_pixels(rng: np.random.Generator) -> None:
    for share in (0.0, 0.02, 0.3, 1.0):
        for height, width in ((1, 1), (1, 9), (13, 1), (17, 23)):
            mask = rng.random((height, width)) < share
            rows, columns = np.nonzero(mask)
            expected = (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1) if len(rows) else None
            assert rle_box(mask_to_rle(mask), height, width) == expected
