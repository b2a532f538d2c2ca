"""`Dataset` as scripts subclass it: lists of classes and images, and `load_mask`.

It is a class of its own, for its conventions are not those of `mrcnn.Dataset`: class 0 is the background and has a
name, images are numbered from 0 by `image_ids`, and `image_info` and `class_info` are lists that scripts change.
`mrcnn.matterport.feed.Feed` makes batches of one for the model of this package.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import numpy as np

from mrcnn.data.images import read_image, stored_shape
from mrcnn.data.rgb import turned_back


class Dataset:
    """Images, classes and masks. Subclasses call `add_class` and `add_image`, and override `load_mask`.

    Attributes:
        image_info: one dict an image: "id" (the script's own), "source", "path" and whatever else it was given.
        turn_exif: show photos as their EXIF orientation says, and turn the masks of `load_mask` along, which are those
            of the pixels as stored; False: neither.
        class_info: one dict a class: "source", "id" (of the source), "name"; the first is the background.
    """

    turn_exif = False

    def __init__(self, class_map: Any = None) -> None:
        self._image_ids: Any = []
        self.image_info: list[dict[str, Any]] = []
        self.class_info: list[dict[str, Any]] = [{"source": "", "id": 0, "name": "BG"}]
        self.source_class_ids: dict[str, list[int]] = {}

    def add_class(self, source: str, class_id: Any, class_name: str) -> None:
        """Add a class of a source; a pair of source and id that is known already is left as it is."""
        assert "." not in source, "Source name cannot contain a dot"
        if any(info["source"] == source and info["id"] == class_id for info in self.class_info):
            return
        self.class_info.append({"source": source, "id": class_id, "name": class_name})

    def add_image(self, source: str, image_id: Any, path: Any, **kwargs: Any) -> None:
        """Add an image; further arguments are kept in its `image_info`."""
        self.image_info.append({"id": image_id, "source": source, "path": path, **kwargs})

    def image_reference(self, image_id: int) -> str:
        """What to call an image when looking for it; to override."""
        return ""

    def prepare(self, class_map: Any = None) -> None:
        """Number classes and images; to be called once all are added."""
        self.num_classes = len(self.class_info)
        self.class_ids = np.arange(self.num_classes)
        self.class_names = [",".join(info["name"].split(",")[:1]) for info in self.class_info]
        self.num_images = len(self.image_info)
        self._image_ids = np.arange(self.num_images)
        self.class_from_source_map = {f"{c['source']}.{c['id']}": i for i, c in enumerate(self.class_info)}
        self.image_from_source_map = {f"{m['source']}.{m['id']}": i for i, m in enumerate(self.image_info)}
        self.sources = list({info["source"] for info in self.class_info})
        self.source_class_ids = {
            source: [i for i, info in enumerate(self.class_info) if i == 0 or info["source"] == source]
            for source in self.sources
        }

    def map_source_class_id(self, source_class_id: str) -> int:
        """The class id of "source.id", such as "coco.12"."""
        return self.class_from_source_map[source_class_id]

    def get_source_class_id(self, class_id: int, source: str) -> Any:
        """The id of a class in the source it came from."""
        info = self.class_info[class_id]
        assert info["source"] == source
        return info["id"]

    @property
    def image_ids(self) -> Any:
        """i[N], 0 to N - 1, once `prepare` was called."""
        return self._image_ids

    def source_image_link(self, image_id: int) -> Any:
        """The path of an image."""
        return self.image_info[image_id]["path"]

    def load_image(self, image_id: int) -> np.ndarray:
        """u8[h, w, 3], RGB: gray three times, without transparency; the pixels as the file stores them.

        A photo's EXIF orientation is not applied, as it never was: sizes and masks that people have were made so.
        With `turn_exif` it is, and `model.load_image_gt` turns the masks along.
        """
        info = self.image_info[image_id]
        if info["path"] is None:
            raise ValueError(f"image {info['id']!r} has no path; override load_image or give add_image a path")
        shown = read_image(os.fspath(info["path"]))
        return shown if self.turn_exif else turned_back(shown, self.exif_orientation(image_id))

    def exif_orientation(self, image_id: int) -> int:
        """The EXIF orientation of an image's file, 1 to 8; 1 where it has none."""
        return stored_shape(os.fspath(self.image_info[image_id]["path"]))[1]

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Masks [h, w, n] and class ids [n] of an image; to override."""
        logging.warning("You are using the default load_mask(), maybe you need to define your own one.")
        return np.empty([0, 0, 0]), np.empty([0], np.int32)
