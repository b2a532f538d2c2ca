from __future__ import annotations

import numpy as np
import pytest

from mrcnn.data.outlines import bridged, has_holes, outlines, signed_area, trace
from mrcnn.data.rasterize import polygons_to_mask
from mrcnn.structures.records import Annotation


@pytest.mark.parametrize("seed", range(20))
def test_traced_masks_are_drawn_as_they_were(seed: int) -> None:
    generator = np.random.default_rng(seed)
    bits = generator.random((int(generator.integers(1, 24)), int(generator.integers(1, 24)))) < generator.random()
    if not bits.any():
        bits[0, 0] = True
    loops = trace(bits)
    assert sum(map(signed_area, loops)) == bits.sum()
    assert all((np.abs(np.diff(loop, axis=0)) > 0).any(axis=1).all() for loop in loops)
    np.testing.assert_array_equal(polygons_to_mask([bridged(loops)], *bits.shape), bits)


def test_a_ring_has_a_hole() -> None:
    bits = np.ones((5, 6), bool)
    bits[1:4, 2:4] = False
    loops = trace(bits, 10, 20)
    assert has_holes(loops) and sorted(map(signed_area, loops)) == [-6, 30]
    assert loops[0].min(axis=0).tolist() == [20, 10] and len(loops[0]) == len(loops[1]) == 4
    assert not trace(np.zeros((3, 3), bool))
    corner = np.eye(2, dtype=bool)
    assert [signed_area(loop) for loop in trace(corner)] == [1, 1]


def test_outlines_of_annotations() -> None:
    a, b = np.array([(1, 1), (4, 1), (4, 4)]), np.array([(6, 6), (9, 6), (9, 9)])
    same = outlines(Annotation(1, (1, 1, 9, 9), [a, b]), 10, 10)
    assert [p.tolist() for p in same] == [a.tolist(), b.tolist()]
    traced = outlines(Annotation(1, (1, 1, 9, 9), [a, a + 1]), 10, 10)  # which overlap
    union = polygons_to_mask([a, a + 1], 10, 10)
    np.testing.assert_array_equal(polygons_to_mask([bridged(traced)], 10, 10), union)
    assert outlines(Annotation(1, (2, 1, 5, 9)), 10, 10)[0].tolist() == [[1, 2], [9, 2], [9, 5], [1, 5]]
    far = outlines(Annotation(1, (0, 0, 10, 10), [np.array([(-50, -50), (60, -50), (60, 60)])]), 10, 10)
    assert all((p >= 0).all() and (p <= 10).all() for p in far)
    assert outlines(Annotation(1, (2, 2, 2, 2)), 10, 10) == []
