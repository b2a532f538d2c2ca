"""GeoJSON beside its images: polygons with holes, in map coordinates where the image has them."""

from __future__ import annotations

from pathlib import Path

from mrcnn.data.formats.coco_writer import save_json
from mrcnn.data.formats.geojson_features import Georeference, collection, feature, georeference
from mrcnn.data.formats.saving import Saver
from mrcnn.data.outlines import parts_with_holes


def write_geojson(saver: Saver) -> None:
    """Write an image and a .geojson file for each image of the set."""
    for index in range(len(saver.dataset)):
        record = saver.dataset.record(index)
        height, width = saver.dataset.image_shape(index)
        saver.put_image(index, saver.path)
        # Of what was written: an image that is not copied as it is loses its place on the map.
        beside = saver.path / saver.name(index)
        file = beside if saver.copy_images else None if record.path is None else Path(record.path)
        try:
            place = georeference(file)
        except ModuleNotFoundError:
            saver.lost("map coordinates", "they need rasterio (pip install 'mrcnn-keras[geo]'); in pixels", record)
            place = None
        features = []
        for number, annotation in enumerate(saver.annotations(index), start=1):
            own = number if annotation.annotation_id is None else annotation.annotation_id
            saver.without(record, annotation, crowd=False)
            parts = parts_with_holes(annotation, height, width)
            if not parts:
                saver.lost("empty", "a mask without a pixel, not written", record, annotation)
                continue
            properties: dict[str, object] = {"id": own, "class": saver.class_name(annotation)}
            if annotation.is_crowd:
                properties["iscrowd"] = 1
            features.append(feature(parts, place or Georeference(), properties))
        save_json(collection(features, place, saver.name(index)), saver.path / f"{saver.stem(index)}.geojson")
