"""Many entries of a COCO file's "annotations" at once: polygons are cut out of their text and read as one array.

What most entries have in common is checked for all of them together; an entry with anything else is left to
`coco_annotations`, which looks at it alone and says what is wrong with it.
"""

from __future__ import annotations

import itertools
import json
import operator
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from mrcnn.data.errors import DataError
from mrcnn.data.formats.agreement import LEAST_IOU, THIN, clearly_have_area, ious
from mrcnn.data.formats.coco_objects import TOLERANCE, read_keypoints
from mrcnn.data.formats.number_text import SPACES, split_numbers
from mrcnn.data.polygons import MAX_OUTLINE
from mrcnn.structures.records import Annotation

_KEY = b'"segmentation"'
_OPENING = re.compile(rb"\s*:\s*\[\s*\[")
_CLOSING = re.compile(rb"\]\s*\]")
_CUT = "segmentation\0"  # the key of the number of polygons that were cut out; no program writes such a key
_CUT_JSON = b'"segmentation\\u0000"'
_POLYGON, _TEXT = b"|", b"~"  # separate polygons and texts; no character of a number is as high
_TO_COMMAS = bytes.maketrans(_POLYGON + _TEXT, b",,")
_FIELDS = operator.itemgetter("id", "image_id", "category_id", "bbox", "area")


class Tables(NamedTuple):
    """What a file says of its images and categories.

    Attributes:
        rows: image id -> row of `sizes`.
        sizes: f64[n + 1, 2], (height, width); the last row, (0, 0), is that of an unknown image.
        class_ids: category id -> class id.
        joints: category id -> number of its joints; None: keypoints are not read.
    """

    rows: Mapping[int | str, int]
    sizes: np.ndarray
    class_ids: Mapping[int | str, int]
    joints: Mapping[int | str, int | None] | None


def cut_polygons(piece: bytes) -> tuple[bytes, list[bytes]]:
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
        if end < 0 or other[start:end].lstrip()[:1] in (b"[", b"{"):
            parts += (_KEY, other)  # something else, or nested in another way
        else:
            parts += (_CUT_JSON, b":%d" % len(texts), other[after:])
            texts.append(other[start:end])
    return b"".join(parts), texts


def restored(entry: dict[str, Any], texts: list[bytes]) -> dict[str, Any]:
    """An entry with the polygons that `cut_polygons` took from it, in place."""
    cut = entry.pop(_CUT, None)
    if cut is not None:
        entry["segmentation"] = json.loads(b"[[" + texts[cut] + b"]]")
    return entry


class PlainEntries:
    """The entries of a piece of which there is nothing to report, checked together.

    Attributes:
        is_plain: bool[n], of each entry.
        ious: f64[k], of the box and the mask of each that is plain and no crowd region.
        corner_ious: the same, of the box read as corners.
    """

    def __init__(
        self,
        tables: Tables,
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
        sizes = tables.sizes[[tables.rows.get(image_id, -1) for image_id in self._image_ids]].T
        self._class_ids = [tables.class_ids.get(category, 0) for category in categories]
        cut = np.array([entry.get(_CUT, -1) for entry in entries])
        ok = (sizes[0] > 0) & (np.array(self._class_ids) > 0) & ((crowd == 0) | (crowd == 1)) & (cut >= 0)
        ok &= np.isfinite(areas)
        with np.errstate(invalid="ignore", over="ignore"):
            boxes = _clipped(stated, sizes)
            around = _around(points, starts, firsts)
            ok &= _fit(stated, boxes, sizes)
            ok &= _inside(around, starts, firsts)[cut]
            around = around[:, cut]
            edge = np.minimum(np.minimum(around[0], around[1]), np.minimum(sizes[0] - around[2], sizes[1] - around[3]))
            ok &= (edge >= 0) & clearly_have_area(around)
            overlaps = ious(boxes, around)
            thin = np.minimum(around[2] - around[0], around[3] - around[1]) < THIN
            ok &= (crowd == 1) | (~thin & (overlaps >= LEAST_IOU))
            self._keypoints = _read_keypoints(tables, entries, ok)
            corners = stated.T[[1, 0, 3, 2]]
            is_box = (corners[2] > corners[0]) & (corners[3] > corners[1])
            corner_overlaps = np.where(is_box, ious(corners, around), 0.0)
        counted = ok & (crowd == 0)
        self.ious, self.corner_ious = overlaps[counted], corner_overlaps[counted]
        self.is_plain = ok
        self._points, self._starts = points.astype(np.float32), starts.tolist()
        self._ranges = zip(firsts[cut].tolist(), firsts[cut + 1].tolist(), strict=True)
        self._boxes_clipped, self._crowd = boxes.tolist(), (crowd == 1).tolist()

    @classmethod
    def of(cls, tables: Tables, entries: list[Any], texts: list[bytes], seen: set[int | str]) -> PlainEntries | None:
        """The entries of a piece.

        Args:
            tables: of the file.
            entries: of `cut_polygons`, parsed.
            texts: of `cut_polygons`.
            seen: ids of entries before them.

        Returns:
            None: entries have fields of other types, or ids are given twice; each is then looked at alone.
        """
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
        if len(set(ids)) < len(ids) or not seen.isdisjoint(ids):
            return None
        polygons = _polygons(texts)
        try:
            return None if polygons is None else cls(tables, entries, columns, polygons, np.array(crowd))
        except OverflowError:  # an integer that no float holds
            return None

    @property
    def ids(self) -> Iterator[int]:
        """Of the entries that are plain."""
        return itertools.compress(self._ids, self.is_plain.tolist())

    @property
    def image_ids(self) -> tuple[int, ...]:
        """Of every entry."""
        return self._image_ids

    def annotations(self) -> Iterator[Annotation]:
        """The object of every entry, one that is not plain included, which is to be read in another way."""
        starts, points = self._starts, self._points
        views = [points[a:b] for a, b in itertools.pairwise(starts)]
        polygons = [views[first:end] for first, end in self._ranges]
        keypoints = self._keypoints or itertools.repeat(None)
        boxes = zip(*self._boxes_clipped, strict=True)
        return map(Annotation, self._class_ids, boxes, polygons, keypoints, self._crowd, self._ids, self._areas)


def _clipped(stated: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(y1, x1, y2, x2) f64[4, n] of stated boxes (x, y, width, height), clipped to the images."""
    x, y, w, h = stated.T
    return np.stack([np.maximum(y, 0.0), np.maximum(x, 0.0), np.minimum(y + h, sizes[0]), np.minimum(x + w, sizes[1])])


def _fit(stated: np.ndarray, boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Whether boxes have an area and reach out of their images by rounding alone."""
    x, y, w, h = stated.T
    out = np.max([boxes[0] - y, boxes[1] - x, y + h - boxes[2], x + w - boxes[3]], axis=0)
    return (w > 0) & (h > 0) & clearly_have_area(boxes) & (out <= TOLERANCE)


def _around(points: np.ndarray, starts: np.ndarray, firsts: np.ndarray) -> np.ndarray:
    """(y1, x1, y2, x2) f64[4, texts] around the polygons of each text."""
    begin = starts[firsts[:-1]]
    low, high = np.minimum.reduceat(points, begin, axis=0), np.maximum.reduceat(points, begin, axis=0)
    return np.stack([low[:, 1], low[:, 0], high[:, 1], high[:, 0]])


def _inside(around: np.ndarray, starts: np.ndarray, firsts: np.ndarray) -> np.ndarray:
    """Whether the polygons of each text have three points each, and are short enough to draw."""
    least = np.minimum.reduceat(np.diff(starts), firsts[:-1])
    longest = np.maximum(around[2] - around[0], around[3] - around[1])
    return (least >= 3) & (longest * np.diff(starts[firsts]) <= MAX_OUTLINE)


def _read_keypoints(tables: Tables, entries: list[dict[str, Any]], ok: np.ndarray) -> list[np.ndarray | None] | None:
    """Joints of each entry; those that cannot be read are not plain. None: none are read."""
    if tables.joints is None:
        return None
    keypoints: list[np.ndarray | None] = [None] * len(entries)
    for k in np.flatnonzero(ok).tolist():
        joints = tables.joints[entries[k]["category_id"]]
        try:
            keypoints[k] = None if joints is None else read_keypoints(entries[k].get("keypoints"), joints)
        except DataError:
            ok[k] = False
    return keypoints


def _polygons(texts: list[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Points f64[n, 2] of all polygons, the first point of each polygon, the first polygon of each text; or None."""
    joined = _TEXT.join(texts).translate(None, SPACES)
    if b"[" in joined:
        joined = joined.replace(b"],[", _POLYGON)
    codes = np.frombuffer(joined, np.uint8)
    try:
        numbers, ends = split_numbers(joined.translate(_TO_COMMAS))
    except DataError:
        return None
    places = np.append(np.flatnonzero(codes >= _POLYGON[0]), len(codes))  # where a polygon ends
    starts = np.concatenate([[0], np.searchsorted(ends, places) + 1])
    if (starts % 2).any():
        return None
    is_last = np.append(codes[places[:-1]] == _TEXT[0], True)  # of its text
    return numbers.reshape(-1, 2), starts // 2, np.concatenate([[0], np.flatnonzero(is_last) + 1])
