"""CVAT for images 1.1, one XML file: polygons, parts as a group, masks where there are holes, scores as attributes."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

from mrcnn.data.formats.cvat_writer import add_object, cvat_image, cvat_root, write_xml
from mrcnn.results.objects import objects, score_of
from mrcnn.structures.result_format import ImageResult, ResultFormat

Part = tuple[ElementTree.Element, list[str]]


class CvatResults(ResultFormat):
    """CVAT XML; "score" is an attribute of each label."""

    name, suffix, joint = "cvat", ".xml", True
    holds = "polygons, groups of them, masks with holes, scores as attributes, of all images"

    def encode(self, result: ImageResult, path: Path) -> Part:
        """The element of an image, and its class names."""
        result.without(keypoints=True, crowd=True)
        image = cvat_image(0, result.name, *result.instances.image_shape)
        for i, annotation in objects(result):
            elements = add_object(image, result.class_name(annotation.class_id), annotation, i + 1) or []
            score = score_of(result, i)
            for element in elements if score is not None else ():
                element.set("source", "auto")
                ElementTree.SubElement(element, "attribute", name="score").text = f"{score:g}"
        ids = range(1, max(result.instances.class_ids.tolist(), default=0) + 1)
        names = [result.class_name(k) for k in ids] if result.class_names is None else list(result.class_names)
        return image, names

    def write(self, parts: Sequence[Part], path: Path) -> None:
        """The images under one root, numbered; groups are numbered in each image, as CVAT does."""
        root = cvat_root(list(dict.fromkeys(name for _, names in parts for name in names)), ["score"])
        for number, (image, _) in enumerate(parts):
            image.set("id", str(number))
            root.append(image)
        write_xml(root, path)
