"""Things and stuff as COCO panoptic: a JSON file and a PNG for each image, of data sets and of results.

Ref: cocodataset.org, "Format data", 4 ("Panoptic Segmentation"), and "Results format".
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mrcnn.data.formats.coco_writer import save_json
from mrcnn.data.formats.map_writers import draw_map
from mrcnn.data.formats.saving import Saver
from mrcnn.data.semantic import checked_semantic
from mrcnn.errors import InputError
from mrcnn.files import atomic_write
from mrcnn.structures.panoptic import IGNORED, PanopticSegments, Segment
from mrcnn.text import file_stem


def write_dataset(saver: Saver) -> None:
    """Write images/, panoptic.json and panoptic/; or a .json file and the folder of its name beside it."""
    dataset, alone = saver.dataset, saver.path.suffix.lower() == ".json"
    file = saver.path if alone else saver.path / "panoptic.json"
    stuff_ids = free_stuff_ids(dataset.category_ids, dataset.stuff_names, dataset.stuff_category_ids)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(len(dataset)):
        record, (height, width) = dataset.record(index), dataset.image_shape(index)
        if not alone:
            saver.put_image(index, saver.path / "images")
        segments = _segments(saver, index)
        name = f"{saver.stem(index)}.png"
        entry = _write_segments(file.with_suffix("") / name, segments, dataset.category_ids, stuff_ids)
        images.append({"id": record.image_id, "file_name": saver.name(index), "height": height, "width": width})
        annotations.append({"image_id": record.image_id, "file_name": name, "segments_info": entry})
    things = zip(dataset.category_ids, dataset.class_names, strict=True)
    categories = [{"id": number, "name": name, "isthing": 1} for number, name in things]
    stuff = zip(stuff_ids, dataset.stuff_names, strict=True)
    categories += [{"id": number, "name": name, "isthing": 0} for number, name in stuff]
    save_json({"images": images, "annotations": annotations, "categories": categories}, file)


def _segments(saver: Saver, index: int) -> PanopticSegments:
    """Those of an image of the data set; what overlaps is noted."""
    dataset, annotations = saver.dataset, saver.annotations(index)
    record, shape = dataset.record(index), dataset.image_shape(index)
    for annotation in annotations:
        saver.without(record, annotation, crowd=False)
    ids = draw_map(saver, record, annotations, shape)
    segments = [Segment(k, a.class_id, is_crowd=a.is_crowd) for k, a in enumerate(annotations, start=1)]
    if dataset.stuff_names:
        semantic = checked_semantic(dataset, index)
        rest = np.where((ids == 0) & (semantic != IGNORED), semantic, 0)
        stuff = [k for k in np.unique(rest).tolist() if k]
        for number, class_id in enumerate(stuff, start=len(annotations) + 1):
            ids[rest == class_id] = number
            segments.append(Segment(number, class_id, is_thing=False))
    present = set(np.unique(ids).tolist())
    return PanopticSegments(ids, tuple(segment for segment in segments if segment.id in present))


def save_panoptic(
    results: Iterable[tuple[int | str, PanopticSegments]],
    path: str | os.PathLike[str],
    *,
    category_ids: Sequence[int],
    stuff_category_ids: Sequence[int],
) -> Path:
    """Write predicted segments as results in COCO's format, which `panopticapi` and `evaluate_panoptic_files` read.

    Args:
        results: (image id, segments) of each image.
        path: of the JSON file; the PNG files go into the folder of its name, beside it.
        category_ids: of the thing classes 1..C, such as `model.category_ids`.
        stuff_category_ids: of the stuff classes 1..S, such as `model.config.stuff_category_ids`.

    Returns:
        the path.

    Raises:
        InputError: a path that does not end in .json, ids that are not distinct, or a segment of a class without one.
        FileError: a file cannot be written.

    Example:
        >>> import tempfile
        >>> segments = PanopticSegments(np.array([[300, 300, 0]]), (Segment(300, 1, is_thing=False),))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = save_panoptic([(7, segments)], Path(folder, "r.json"), category_ids=[1], stuff_category_ids=[92])
        ...     sorted(p.relative_to(folder).as_posix() for p in Path(folder).rglob("*.*"))
        ['r.json', 'r/000000000007.png']
    """
    file = Path(path)
    if file.suffix.lower() != ".json":
        raise InputError(f"{file}: expected a file name that ends in .json")
    ids = [*category_ids, *stuff_category_ids]
    if len(set(ids)) < len(ids):
        raise InputError("category_ids, stuff_category_ids: expected distinct ids, of things and of stuff together")
    annotations: list[dict[str, Any]] = []
    taken: set[str] = set()
    for image_id, segments in results:
        name = f"{image_id:012d}" if isinstance(image_id, int) else file_stem(str(image_id))
        while name.lower() in taken:
            name += "_"
        taken.add(name.lower())
        entry = _write_segments(
            file.with_suffix("") / f"{name}.png", segments, tuple(category_ids), tuple(stuff_category_ids)
        )
        annotations.append({"image_id": image_id, "file_name": f"{name}.png", "segments_info": entry})
    save_json({"annotations": annotations}, file)
    return file


def free_stuff_ids(
    category_ids: Sequence[int], stuff_names: Sequence[str], stuff_category_ids: Sequence[int]
) -> tuple[int, ...]:
    """Category ids of the stuff classes: their own, or, where these are not given or are things', the next free ones.

    Example:
        >>> free_stuff_ids([1, 7], ["sky", "sea"], ()), free_stuff_ids([1], ["sky"], [92])
        ((8, 9), (92,))
    """
    own = tuple(stuff_category_ids)
    if len(set(own)) == len(stuff_names) and not set(own) & set(category_ids):
        return own
    first = max(category_ids, default=0) + 1
    return tuple(range(first, first + len(stuff_names)))


def _write_segments(
    file: Path, segments: PanopticSegments, category_ids: Sequence[int], stuff_category_ids: Sequence[int]
) -> list[dict[str, Any]]:
    """Writes the map of an image; its "segments_info"."""
    info = []
    areas = segments.areas()
    for segment in segments.segments:
        ids = category_ids if segment.is_thing else stuff_category_ids
        if not 1 <= segment.class_id <= len(ids):
            kind = "category_ids" if segment.is_thing else "stuff_category_ids"
            raise InputError(f"{file.name}: a segment of class {segment.class_id}, but {kind} has {len(ids)} entries")
        if not 0 < segment.id < 2**24:
            raise InputError(f"{file.name}: segment {segment.id}, expected an id of 24 bits, which a color can hold")
        mask = segments.mask(segment.id)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        x, y = int(columns[0]), int(rows[0])
        entry: dict[str, Any] = {
            "id": segment.id,
            "category_id": int(ids[segment.class_id - 1]),
            "iscrowd": int(segment.is_crowd),
            "area": areas[segment.id],
            "bbox": [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y],
        }
        if segment.score is not None:
            entry["score"] = segment.score
        info.append(entry)
    color = np.stack([segments.ids & 255, segments.ids >> 8 & 255, segments.ids >> 16], axis=-1).astype(np.uint8)
    with atomic_write(file) as temporary:
        Image.fromarray(color).save(temporary, "PNG")
    return info
