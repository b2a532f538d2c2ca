from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from mrcnn.data.errors import DataError
from mrcnn.data.polygons import MAX_OUTLINE, clip_polygons, draw_polygons, finite_polygons, outline_length
from mrcnn.data.rasterize import annotation_mask, mask_window, polygons_to_mask, polygons_to_rle, rle_to_mask
from mrcnn.structures.records import Annotation

H, W = 40, 60


def whole(polygon: np.ndarray) -> np.ndarray:
    """The COCO API's own mask of the polygon as it is."""
    return coco_mask.decode(coco_mask.frPyObjects([polygon.ravel().tolist()], H, W))[..., 0].astype(bool)


@pytest.mark.parametrize("seed", range(40))
def test_a_clipped_polygon_covers_the_same_pixels(seed: int) -> None:
    """Stars with vertices far outside, concave and crossing themselves; only pixels on an edge may differ."""
    rng = np.random.default_rng(seed)
    num = int(rng.integers(3, 12))
    polygon = rng.normal(0, 1, (num, 2)) * rng.choice([10, 100, 5000], (num, 1)) + (W / 2, H / 2)
    (clipped,) = clip_polygons([polygon], H, W) or [np.zeros((0, 2))]
    expected = whole(polygon)
    mask = draw_polygons([clipped], H, W) if len(clipped) else np.zeros((H, W))
    edge = expected ^ np.roll(expected, 1, 0) | expected ^ np.roll(expected, 1, 1) | expected ^ np.roll(expected, -1, 0)
    differs = expected != mask.astype(bool)
    assert (differs & ~edge & ~np.roll(edge, 1, 1) & ~np.roll(edge, -1, 1)).sum() <= 2
    assert differs.sum() <= 0.02 * H * W
    if len(clipped):
        assert np.abs(clipped - (W / 2, H / 2)).max() <= W + 1000 + W


def test_polygons_near_the_image_stay_as_they_are() -> None:
    polygon = np.array([[-1059.3, 4.2], [70.1, -1020.0], [1119.9, 1099.9], [3.3, 20]])
    (clipped,) = clip_polygons([polygon], H, W)
    assert clipped is polygon
    np.testing.assert_array_equal(polygons_to_mask([polygon], H, W), whole(polygon))


def test_half_planes() -> None:
    """A triangle with one vertex at (1e9, 10): rows above and below its two nearly level edges."""
    for far in (1e5, 1e7, 1e9, 1e12, 1e30, 1e300):
        mask = polygons_to_mask([np.array([[10, 5], [far, 10], [10, 15]])], H, W)
        expected = np.zeros((H, W), bool)
        expected[5:15, 10:] = True
        assert (mask != expected).sum() <= 2 * W, far  # COCO's rounding of the edges
        assert mask[7:13, 12:].all() and not mask[:4].any() and not mask[17:].any() and not mask[:, :9].any()
    around = np.array([[-1e9, -1e9], [1e9, -1e9], [1e9, 1e9], [-1e9, 1e9]])
    assert polygons_to_mask([around], H, W).all()
    for dx, dy in ((1e9, 0), (-1e9, 0), (0, 1e9), (0, -1e9)):
        beside = around / 1e8 + (dx, dy)
        assert not polygons_to_mask([beside], H, W).any()
        assert polygons_to_rle([beside], H, W)["counts"]


def test_rle_of_polygons_is_that_of_the_coco_api() -> None:
    rng = np.random.default_rng(0)
    polygons = [rng.uniform(0, 40, (7, 2)), rng.uniform(10, 60, (5, 2))]
    merged = coco_mask.merge(coco_mask.frPyObjects([p.ravel().tolist() for p in polygons], H, W))
    assert polygons_to_rle(polygons, H, W) == {"size": [H, W], "counts": merged["counts"].decode()}
    np.testing.assert_array_equal(rle_to_mask(polygons_to_rle(polygons, H, W)), polygons_to_mask(polygons, H, W))
    assert rle_to_mask(polygons_to_rle([], H, W)).sum() == 0


def test_what_is_not_finite_covers_nothing() -> None:
    bad = [np.array([[1, 1], [np.nan, 5], [5, 5]]), np.array([[1, 1], [np.inf, 5], [5, 5]]), np.zeros((2, 2))]
    assert finite_polygons(bad) == []
    assert not polygons_to_mask(bad, H, W).any()
    for box in ((0, 0, np.nan, 5), (0, 0, np.inf, 5), (-np.inf, 0, 5, 5)):
        annotation_mask(Annotation(1, box), H, W)
        mask_window(Annotation(1, box), H, W)


def test_an_outline_too_long_to_draw_is_refused() -> None:
    zigzag = np.stack([np.arange(200_000) % 2 * 3000, np.arange(200_000) % 3000], axis=1).astype(float)
    assert outline_length([zigzag]) > MAX_OUTLINE
    with pytest.raises(DataError, match=r"polygon: an outline of 6e\+08 pixels; expected at most 2000000"):
        polygons_to_mask([zigzag], 3000, 3000)


def test_an_image_too_large_to_rasterize_is_refused() -> None:
    for annotation in (
        Annotation(1, (0, 0, 5, 5)),
        Annotation(1, (0, 0, 5, 5), [np.array([[0, 0], [5, 0], [5, 1e5]])]),
        Annotation(1, (0, 0, 5, 5), {"size": [100_000, 100_000], "counts": [10**10]}),
    ):
        with pytest.raises(DataError, match="100000 x 100000 is 10000000000 pixels"):
            annotation_mask(annotation, 100_000, 100_000) if annotation.segmentation is None else mask_window(
                annotation, 100_000, 100_000
            )


MEMORY = """
import resource
import numpy as np
import pycocotools.mask
from mrcnn.data.rasterize import annotation_mask, annotation_window, mask_window, polygons_to_rle
from mrcnn.structures.records import Annotation

resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
angle = np.arange(72) * (np.pi / 36)
for size in (1e7, 1e8, 1e9, 3e38):
    circle = np.stack([np.cos(angle), np.sin(angle)], 1) * size
    for polygon in (np.array([[1, 1], [size, 5], [9, 9]]), np.array([[1, 1], [5, -size], [9, 9]]), circle, -circle):
        drawn = Annotation(1, (0, 0, 9, 9), [polygon.astype(np.float32)])
        for annotation in (drawn, Annotation(1, (-size, -size, size, size))):
            annotation_mask(annotation, 400, 600)
            annotation_window(annotation, 400, 600)
            mask_window(annotation, 400, 600)
        polygons_to_rle([polygon], 400, 600)
print("done")
"""


def test_memory_stays_bounded_for_any_coordinate() -> None:
    result = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr
