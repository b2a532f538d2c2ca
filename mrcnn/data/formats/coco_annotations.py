"""The list "annotations" of a COCO file as the objects of its images, entry by entry or many at once.

Of a large file a piece of the list is read at a time, see `coco_bulk`; an entry that is not as most are goes the way of
the entries of small files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from mrcnn.data.errors import DatasetIssue
from mrcnn.data.formats.agreement import Agreement, merge_file_issues
from mrcnn.data.formats.coco_bulk import PlainEntries, Tables, cut_polygons, restored
from mrcnn.data.formats.coco_objects import Frame, joint_names, read_object
from mrcnn.data.formats.fields import as_id, parse_entries, short
from mrcnn.structures.records import Annotation


def category_id(value: Any) -> int | str | None:
    """The id of a category; "7" is 7."""
    category = as_id(value)
    if isinstance(category, str) and category.isdecimal() and len(category) < 19:
        return int(category)
    return category


def other_form(value: int | str | None) -> int | str | None:
    """The id as a text if it is a number, as a number if it is the text of one."""
    if isinstance(value, int):
        return str(value)
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 19 else None


class AnnotationReader:
    """Gathers the objects of each image.

    Args:
        sizes: image id -> (height, width).
        refused: ids of images that cannot be used; their objects are passed over.
        categories: category id -> its entry.
        class_ids: category id -> class id.
        keypoints: read keypoints.
        issues: to add to.
        path: of the file, for issues.

    Attributes:
        objects: image id -> its objects.
    """

    def __init__(
        self,
        sizes: Mapping[int | str, tuple[int, int]],
        refused: set[int | str],
        categories: Mapping[int | str, dict[str, Any]],
        class_ids: Mapping[int | str, int],
        keypoints: bool,
        issues: list[DatasetIssue],
        path: str,
    ) -> None:
        self.sizes, self.refused, self.categories, self.class_ids = sizes, refused, categories, class_ids
        self.issues, self.path = issues, path
        self.objects: dict[int | str, list[Annotation]] = {image_id: [] for image_id in sizes}
        self._joints = {c: len(joint_names(entry)) if keypoints else None for c, entry in categories.items()}
        rows = {image_id: row for row, image_id in enumerate(sizes)}
        row_sizes = np.array([*sizes.values(), (0, 0)], np.float64)
        self._tables = Tables(rows, row_sizes, class_ids, self._joints if keypoints else None)
        self._seen: set[int | str] = set()
        self._agreement = Agreement()
        self._number = 0

    def finish(self) -> dict[int | str, list[Annotation]]:
        """The objects; issues that all share become one."""
        merge_file_issues(self.issues, self._agreement, self._number, self.path)
        return self.objects

    def add(self, number: int, entry: dict[str, Any]) -> None:
        """One entry, and its place in the list."""
        if self.refused and as_id(entry.get("image_id")) in self.refused:
            return
        self._number += 1
        given = entry.get("id")
        annotation_id = number if given is None else as_id(given)
        image_id, category = as_id(entry.get("image_id")), category_id(entry.get("category_id"))
        if image_id not in self.sizes and other_form(image_id) in self.sizes:
            image_id = other_form(image_id)

        def report(kind: str, message: str, fatal: bool = False) -> None:
            place = number if annotation_id is None else annotation_id
            self.issues.append(DatasetIssue(kind, message, image_id, place, self.path, fatal))

        if annotation_id is None:
            report("wrong type", f'annotations[{number}]: "id" is {short(given)}, which is of the wrong type', True)
            return
        if annotation_id in self._seen:
            report("annotation id twice", f"annotation id {annotation_id} is given twice", True)
        self._seen.add(annotation_id)
        missing = [key for key in ("image_id", "category_id") if key not in entry]
        if missing:
            report("missing key", f'"{missing[0]}" is missing', True)
        elif image_id is None or image_id not in self.sizes:
            report("unknown image", f"names image {short(entry['image_id'])}, which the file does not list", True)
        elif category is None or category not in self.categories:
            known = ", ".join(map(str, list(self.class_ids)[:10])) + (", ..." if len(self.class_ids) > 10 else "")
            report("unknown category", f"names category {short(entry['category_id'])}; the file lists {known}", True)
        else:
            frame = Frame(*self.sizes[image_id], self.class_ids[category], self._joints[category])
            annotation = read_object(entry, frame, annotation_id, self._agreement, report)
            if annotation is not None:
                self.objects[image_id].append(annotation)

    def add_piece(self, number: int, piece: bytes) -> int:
        """Some entries, as JSON.

        Args:
            number: place of the first in the list.
            piece: with brackets around it.

        Returns:
            how many they are.

        Raises:
            ValueError: it is no JSON.
        """
        reduced, texts = cut_polygons(piece)
        entries = parse_entries(reduced)
        plain = PlainEntries.of(self._tables, entries, texts, self._seen)
        if plain is None:  # also where orjson made a float of a large integer
            entries = json.loads(piece)
            for k, entry in enumerate(entries):
                self._add_any(number + k, entry)
            return len(entries)
        self._seen.update(plain.ids)
        self._number += int(plain.is_plain.sum())
        self._agreement.extend(plain.ious, plain.corner_ious)
        objects, is_plain = self.objects, plain.is_plain.tolist()
        for k, (image_id, annotation) in enumerate(zip(plain.image_ids, plain.annotations(), strict=True)):
            if is_plain[k]:
                objects[image_id].append(annotation)
            else:
                self._add_any(number + k, restored(entries[k], texts))
        return len(entries)

    def _add_any(self, number: int, entry: Any) -> None:
        if isinstance(entry, dict):
            self.add(number, entry)
        else:
            message = f"annotations[{number}]: expected an object, got {short(entry)}"
            self.issues.append(DatasetIssue("wrong type", message, path=self.path, fatal=True))
