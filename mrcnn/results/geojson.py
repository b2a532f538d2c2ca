"""GeoJSON, a file for each image: polygons with holes, in map coordinates where the image has them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mrcnn.data.formats.geojson_features import Georeference, collection, feature, georeference
from mrcnn.data.outlines import parts_with_holes
from mrcnn.results.objects import objects, score_of
from mrcnn.structures.result_format import ImageResult, ResultFormat


class GeoJsonResults(ResultFormat):
    """GeoJSON; map coordinates need rasterio (extra `geo`), without it coordinates are pixels."""

    name, suffix = "geojson", ".geojson"
    holds = "polygons with holes, classes and scores, in map coordinates where the image has them"

    def encode(self, result: ImageResult, path: Path) -> dict[str, Any]:
        """The file of an image."""
        result.without(keypoints=True, crowd=True)
        try:
            place = georeference(result.image)
        except ModuleNotFoundError:
            message = "its map coordinates need rasterio (pip install 'mrcnn-keras[geo]'); written in pixels"
            result.lost("map coordinates", message)
            place = None
        features = []
        for i, annotation in objects(result):
            parts = parts_with_holes(annotation, *result.instances.image_shape)
            properties = {
                "id": i + 1,
                "class_id": annotation.class_id,
                "class": result.class_name(annotation.class_id),
                "score": score_of(result, i),
            }
            if parts:
                features.append(feature(parts, place or Georeference(), properties))
            else:
                result.lost("empty", "a box without area in its image, not written", i)
        return collection(features, place, result.name)

    def write(self, parts: Sequence[dict[str, Any]], path: Path) -> None:
        """The file."""
        path.write_text(json.dumps(parts[0]), encoding="utf-8")
