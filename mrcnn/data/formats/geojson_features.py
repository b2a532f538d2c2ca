"""GeoJSON features of objects: polygons with holes, in map coordinates where the image has them.

Map coordinates are those of the image's own coordinate reference system, which the file names in its "crs" member: so
GDAL, QGIS and GeoPandas read and write it. An image without them, or a machine without rasterio (extra `geo`), gives
pixels: x to the right, y down, pixel i spanning [i, i + 1).

Ref: RFC 7946, whose sections 3.1.6 (rings) and 4 (other reference systems by prior arrangement) are kept.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mrcnn.data.errors import DataError
from mrcnn.data.outlines import Loop, signed_area

Transform = tuple[float, float, float, float, float, float]
_GEO_TAGS = (33550, 33922, 34264)  # ModelPixelScale, ModelTiepoint, ModelTransformation
PIXELS: Transform = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclasses.dataclass(frozen=True)
class Georeference:
    """Where an image lies on a map.

    Attributes:
        transform: (a, b, c, d, e, f): x = a column + b row + c, y = d column + e row + f.
        crs: name of the coordinate reference system as GeoJSON has it; None: not stated.
    """

    transform: Transform = PIXELS
    crs: str | None = None

    def to_map(self, points: np.ndarray) -> np.ndarray:
        """f64[n, 2] of (x, y) on the map, from pixels (column, row)."""
        a, b, c, d, e, f = self.transform
        return np.asarray(points, np.float64) @ np.array([[a, d], [b, e]]) + (c, f)

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """f64[n, 2] of pixels (column, row), from (x, y) on the map.

        Raises:
            DataError: the transform has no inverse.
        """
        a, b, c, d, e, f = self.transform
        if a * e == b * d:
            raise DataError(f"transform {self.transform}: cannot be inverted")
        return (np.asarray(points, np.float64) - (c, f)) @ np.linalg.inv(np.array([[a, d], [b, e]]))


def georeference(path: Path | None) -> Georeference | None:
    """Where an image file lies on a map; None: it does not state that.

    Raises:
        ModuleNotFoundError: it does, but rasterio is not installed.
    """
    if path is None or not path.is_file():
        return None
    try:
        import rasterio
    except ModuleNotFoundError:
        if _has_geo_tags(path):
            raise
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an image that lies on no map
        try:
            with rasterio.open(path) as image:
                values, crs = tuple(float(v) for v in image.transform)[:6], image.crs
        except rasterio.errors.RasterioIOError:  # a format that only Pillow reads has no map coordinates
            return None
    if crs is None and values == PIXELS:
        return None
    return Georeference(values, None if not crs else crs_name(crs))  # type: ignore[arg-type] # six of them


def crs_name(crs: Any) -> str:
    """The name of a reference system of rasterio as GeoJSON has it: a URN of its EPSG code, else its WKT."""
    code = crs.to_epsg()
    if code is None:
        return str(crs.to_wkt())
    return "urn:ogc:def:crs:OGC:1.3:CRS84" if code == 4326 else f"urn:ogc:def:crs:EPSG::{code}"


def _has_geo_tags(path: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(path) as image:
            tags = getattr(image, "tag_v2", {})
            return any(tag in tags for tag in _GEO_TAGS)
    except Exception:  # no image that Pillow reads, which detection or reading says by itself
        return False


def feature(parts: Sequence[Sequence[Loop]], place: Georeference, properties: dict[str, Any]) -> dict[str, Any]:
    """One object as a feature.

    Args:
        parts: each an outline and its holes, in pixels; at least one.
        place: of the image.
        properties: of the object.
    """
    polygons = [[_ring(loop, place, is_hole=k > 0) for k, loop in enumerate(part)] for part in parts]
    one = len(polygons) == 1
    geometry = {"type": "Polygon" if one else "MultiPolygon", "coordinates": polygons[0] if one else polygons}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def _ring(loop: Loop, place: Georeference, is_hole: bool) -> list[list[float]]:
    """Closed; counterclockwise as numbers (x, y), holes clockwise."""
    points = place.to_map(loop)
    if (signed_area(points) > 0) == is_hole:
        points = points[::-1]
    return np.concatenate([points, points[:1]]).tolist()


def collection(features: list[dict[str, Any]], place: Georeference | None, image: str) -> dict[str, Any]:
    """A file of features of one image."""
    content: dict[str, Any] = {"type": "FeatureCollection", "image": image}
    content["coordinates"] = "pixels" if place is None else "map"
    if place is not None and place.crs is not None:
        content["crs"] = {"type": "name", "properties": {"name": place.crs}}
    return {**content, "features": features}
