from __future__ import annotations

import numpy as np
import pytest

from mrcnn.data.errors import DataError
from mrcnn.data.formats.geojson_features import Georeference, collection, feature


def test_pixels_and_map() -> None:
    """By hand: half a meter a pixel, north up, the corner at (500, 4000); then turned by 90 degrees."""
    place = Georeference((0.5, 0, 500, 0, -0.5, 4000), "urn:ogc:def:crs:EPSG::32632")
    points = np.array([(0, 0), (10, 4)])
    assert place.to_map(points).tolist() == [[500, 4000], [505, 3998]]
    np.testing.assert_allclose(place.to_pixels(place.to_map(points)), points)
    turned = Georeference((0, 2, 7, 3, 0, 9))
    assert turned.to_map(points).tolist() == [[7, 9], [15, 39]]
    np.testing.assert_allclose(turned.to_pixels(turned.to_map(points)), points)
    with pytest.raises(DataError, match="cannot be inverted"):
        Georeference((1, 2, 0, 2, 4, 0)).to_pixels(points)


def test_rings_turn_as_the_rfc_wants_them() -> None:
    outer = np.array([(0, 0), (4, 0), (4, 4), (0, 4)])
    hole = np.array([(1, 1), (1, 2), (2, 2), (2, 1)])
    for place in (Georeference(), Georeference((1, 0, 0, 0, -1, 0))):
        for parts in ([[outer, hole]], [[outer[::-1], hole[::-1]]]):
            one = feature(parts, place, {"id": 1})
            rings = one["geometry"]["coordinates"]
            turns = [sum(a[0] * b[1] - a[1] * b[0] for a, b in zip(r, r[1:] + r[:1], strict=True)) for r in rings]
            assert turns == [32, -2] and all(r[0] == r[-1] for r in rings)
    assert feature([[outer], [hole]], Georeference(), {})["geometry"]["type"] == "MultiPolygon"
    assert collection([], Georeference(crs="x"), "a.tif")["crs"]["properties"]["name"] == "x"
