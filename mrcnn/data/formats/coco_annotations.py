"""The list "annotations" of a COCO file as the objects of its images, entry by entry or many at once.

Of a large file a piece of the list is read at a time. Polygons are cut out of its text and read as one array, and what
most entries have in common is checked for all of them together; an entry with anything else goes the way of the
entries of small files.
"""

from __future__ import annotations

import itertools
import json
import operator
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from mrcnn.data.errors import DataError, DatasetIssue
from mrcnn.data.formats.agreement import LEAST_IOU, THIN, Agreement, clearly_have_area, ious, merge_file_issues
from mrcnn.data.formats.coco_objects import TOLERANCE, Frame, joint_names, read_keypoints, read_object
from mrcnn.data.formats.fields import as_id, parse_entries, short
from mrcnn.data.formats.number_text import parse_numbers
from mrcnn.data.polygons import MAX_OUTLINE
from mrcnn.structures.records import Annotation

_KEY = b'"segmentation"'
_OPENING = re.compile(rb"\s*:\s*\[\s*\[")
_CLOSING = re.compile(rb"\]\s*\]")
_CUT = "segmentation\0"  # the key of the number of polygons that were cut out; no program writes such a key
_CUT_JSON = b'"segmentation\\u0000"'
_FIELDS = operator.itemgetter("id", "image_id", "category_id", "bbox", "area")


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
        self._reads_keypoints = keypoints
        self._rows = {image_id: row for row, image_id in enumerate(sizes)}
        self._sizes = np.array([*sizes.values(), (0, 0)], np.float64)  # the last is that of an unknown image
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
        reduced, texts = _without_polygons(piece)
        entries = parse_entries(reduced)
        plain = _Plain.of(self, entries, texts)
        if plain is None:  # also where orjson made a float of a large integer
            entries = json.loads(piece)
            for k, entry in enumerate(entries):
                self._add_any(number + k, entry)
            return len(entries)
        for k, (image_id, annotation) in enumerate(plain.annotations()):
            if annotation is not None:
                self.objects[image_id].append(annotation)
                continue
            entry = entries[k]
            cut = entry.pop(_CUT, None)
            if cut is not None:
                entry["segmentation"] = json.loads(b"[[" + texts[cut] + b"]]")
            self._add_any(number + k, entry)
        return len(entries)

    def _add_any(self, number: int, entry: Any) -> None:
        if isinstance(entry, dict):
            self.add(number, entry)
        else:
            message = f"annotations[{number}]: expected an object, got {short(entry)}"
            self.issues.append(DatasetIssue("wrong type", message, path=self.path, fatal=True))


def _without_polygons(piece: bytes) -> tuple[bytes, list[bytes]]:
    """JSON of entries with numbers in place of their polygons, and the texts of these: what is within [[ and ]]."""
    if _CUT_JSON in piece:
        return piece, []
    first, *others = piece.split(_KEY)
    parts = [first]
    texts: list[bytes] = []
    for other in others:
        start = 4 if other.startswith(b": [[") else 3 if other.startswith(b":[[") else 0
        end = after = other.find(b"]]", start) if start else -1
        if end >= 0:
            after = end + 2
        elif opening := _OPENING.match(other):
            start = opening.end()
            if closing := _CLOSING.search(other, start):
                end, after = closing.start(), closing.end()
        text = other[start:end] if end >= 0 else b"{"
        if b"{" in text or (b"[" in text and text.count(b"[") != text.count(b"]")):
            parts += (_KEY, other)  # nested in another way
        else:
            parts += (_CUT_JSON, b":%d" % len(texts), other[after:])
            texts.append(text)
    return b"".join(parts), texts


def _polygons(texts: list[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Points f64[n, 2] of all polygons, the first point of each polygon, the first polygon of each text; or None."""
    flat: list[bytes] = []
    firsts = []
    for text in texts:
        firsts.append(len(flat))
        if b"[" in text:
            flat += [part.strip(b"], \t\r\n") for part in text.split(b"[")]
        else:
            flat.append(text)
    if not flat or not all(flat):
        return None
    sizes = np.array([text.count(b",") for text in flat]) + 1
    if (sizes % 2).any():
        return None
    try:
        numbers = parse_numbers(b",".join(flat))
    except DataError:
        return None
    starts = np.concatenate([[0], np.cumsum(sizes // 2)])
    return numbers.reshape(-1, 2), starts, np.array([*firsts, len(flat)])


class _Plain:
    """The entries of a piece of which there is nothing to report, checked together.

    Attributes:
        is_plain: bool[n], of each entry.
    """

    def __init__(
        self,
        reader: AnnotationReader,
        entries: list[dict[str, Any]],
        columns: tuple[tuple[Any, ...], ...],
        polygons: tuple[np.ndarray, np.ndarray, np.ndarray],
        crowd: np.ndarray,
    ) -> None:
        self._ids, self._image_ids, categories, boxes_given, stated_areas = columns
        areas = np.array(stated_areas, np.float64)
        self._areas = areas.tolist()
        points, starts, firsts = polygons
        stated = np.fromiter(itertools.chain.from_iterable(boxes_given), np.float64, 4 * len(entries)).reshape(-1, 4)
        rows = reader._rows
        sizes = reader._sizes[[rows.get(image_id, -1) for image_id in self._image_ids]].T
        self._class_ids = [reader.class_ids.get(category, 0) for category in categories]
        cut = np.array([entry.get(_CUT, -1) for entry in entries])
        ok = (sizes[0] > 0) & (np.array(self._class_ids) > 0) & ((crowd == 0) | (crowd == 1)) & (cut >= 0)
        ok &= np.isfinite(areas)
        with np.errstate(invalid="ignore", over="ignore"):
            boxes = self._boxes(stated, sizes)
            around = self._around(points, starts, firsts)
            ok &= self._fit(stated, boxes, sizes)
            ok &= self._inside(around, starts, firsts)[cut]
            around = around[:, cut]
            edge = np.minimum(np.minimum(around[0], around[1]), np.minimum(sizes[0] - around[2], sizes[1] - around[3]))
            ok &= (edge >= 0) & clearly_have_area(around)
            overlaps = ious(boxes, around)
            thin = np.minimum(around[2] - around[0], around[3] - around[1]) < THIN
            ok &= (crowd == 1) | (~thin & (overlaps >= LEAST_IOU))
            self._keypoints = self._read_keypoints(reader, entries, ok)
            corners = stated.T[[1, 0, 3, 2]]
            is_box = (corners[2] > corners[0]) & (corners[3] > corners[1])
            corner_overlaps = np.where(is_box, ious(corners, around), 0.0)
        counted = ok & (crowd == 0)
        agreement = reader._agreement
        agreement.num_masks += int(counted.sum())
        agreement.ious.extend(overlaps[counted].tolist())
        agreement.corner_ious.extend(corner_overlaps[counted].tolist())
        self.is_plain = ok
        self._points, self._starts = points.astype(np.float32), starts.tolist()
        self._ranges = zip(firsts[cut].tolist(), firsts[cut + 1].tolist(), strict=True)
        self._boxes_clipped, self._crowd = boxes.tolist(), (crowd == 1).tolist()
        reader._number += int(ok.sum())
        reader._seen.update(itertools.compress(self._ids, ok.tolist()))

    @classmethod
    def of(cls, reader: AnnotationReader, entries: list[Any], texts: list[bytes]) -> _Plain | None:
        """None where entries have fields of other types, or ids are given twice: each is then looked at alone."""
        if not texts or set(map(type, entries)) != {dict}:
            return None
        try:
            columns = tuple(zip(*map(_FIELDS, entries), strict=True))
        except KeyError:
            return None
        ids, image_ids, categories, boxes, areas = columns
        crowd = [entry.get("iscrowd", 0) for entry in entries]
        are_ints = set(map(type, itertools.chain(ids, image_ids, categories, crowd))) == {int}
        if not are_ints or set(map(type, areas)) - {int, float} or set(map(type, boxes)) != {list}:
            return None
        numbers = set(map(type, itertools.chain.from_iterable(boxes)))
        if set(map(len, boxes)) != {4} or numbers - {int, float}:
            return None
        if len(set(ids)) < len(ids) or not reader._seen.isdisjoint(ids):
            return None
        polygons = _polygons(texts)
        try:
            return None if polygons is None else cls(reader, entries, columns, polygons, np.array(crowd))
        except OverflowError:  # an integer that no float holds
            return None

    def annotations(self) -> Iterator[tuple[int, Annotation | None]]:
        """Image id and object of each entry; None where it is not plain."""
        starts, points = self._starts, self._points
        views = [points[a:b] for a, b in itertools.pairwise(starts)]
        polygons = [views[first:end] for first, end in self._ranges]
        keypoints = self._keypoints or itertools.repeat(None)
        boxes = zip(*self._boxes_clipped, strict=True)
        columns = zip(self._class_ids, boxes, polygons, keypoints, self._crowd, self._ids, self._areas, strict=False)
        for image_id, column, is_plain in zip(self._image_ids, columns, self.is_plain.tolist(), strict=True):
            yield image_id, Annotation(*column) if is_plain else None

    @staticmethod
    def _boxes(stated: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """(y1, x1, y2, x2) f64[4, n], clipped to the images."""
        x, y, w, h = stated.T
        return np.stack(
            [np.maximum(y, 0.0), np.maximum(x, 0.0), np.minimum(y + h, sizes[0]), np.minimum(x + w, sizes[1])]
        )

    @staticmethod
    def _fit(stated: np.ndarray, boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Whether boxes have an area and reach out of their images by rounding alone."""
        x, y, w, h = stated.T
        out = np.max([boxes[0] - y, boxes[1] - x, y + h - boxes[2], x + w - boxes[3]], axis=0)
        return (w > 0) & (h > 0) & clearly_have_area(boxes) & (out <= TOLERANCE)

    @staticmethod
    def _around(points: np.ndarray, starts: np.ndarray, firsts: np.ndarray) -> np.ndarray:
        """(y1, x1, y2, x2) f64[4, texts] around the polygons of each text."""
        begin = starts[firsts[:-1]]
        low, high = np.minimum.reduceat(points, begin, axis=0), np.maximum.reduceat(points, begin, axis=0)
        return np.stack([low[:, 1], low[:, 0], high[:, 1], high[:, 0]])

    @staticmethod
    def _inside(around: np.ndarray, starts: np.ndarray, firsts: np.ndarray) -> np.ndarray:
        """Whether the polygons of each text have three points each, and are short enough to draw."""
        least = np.minimum.reduceat(np.diff(starts), firsts[:-1])
        longest = np.maximum(around[2] - around[0], around[3] - around[1])
        return (least >= 3) & (longest * np.diff(starts[firsts]) <= MAX_OUTLINE)

    @staticmethod
    def _read_keypoints(
        reader: AnnotationReader, entries: list[dict[str, Any]], ok: np.ndarray
    ) -> list[np.ndarray | None] | None:
        if not reader._reads_keypoints:
            return None
        keypoints: list[np.ndarray | None] = [None] * len(entries)
        for k in np.flatnonzero(ok).tolist():
            joints = reader._joints[entries[k]["category_id"]]
            try:
                keypoints[k] = None if joints is None else read_keypoints(entries[k].get("keypoints"), joints)
            except DataError:
                ok[k] = False
        return keypoints
