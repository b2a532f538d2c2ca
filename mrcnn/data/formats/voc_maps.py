"""Pascal VOC's maps of instances and classes, and the palette that numbers them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from mrcnn.data.errors import DataError
from mrcnn.data.formats.agreement import iou
from mrcnn.data.formats.fields import read_text
from mrcnn.data.formats.image_objects import ImageObjects
from mrcnn.data.formats.label_map import Region, packed_colors, read_values, regions

VOC_CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
VOID = 255
_SAME_OBJECT = 0.5


class LabeledObject(NamedTuple):
    name: str
    box: tuple[float, float, float, float] | None  # y1, x1, y2, x2


def add_map(
    image: ImageObjects,
    instance_map: Path,
    root: Path,
    stem: str,
    objects: list[LabeledObject],
    labelmap: list[tuple[str, tuple[int, int, int]]] | None,
) -> set[int]:
    """Add the objects of a map; the numbers of those of the XML that are among them."""
    values = _indices(read_values(instance_map))
    if values.shape != (image.height, image.width):
        raise DataError(
            f"{instance_map}: {values.shape[0]} x {values.shape[1]}, its image is {image.height} x {image.width}"
        )
    class_map = root / "SegmentationClass" / f"{stem}.png"
    classes = read_values(class_map) if class_map.is_file() else None
    if classes is not None and classes.shape[:2] != values.shape:
        image.report(
            "damaged label", f"{class_map}: {classes.shape[0]} x {classes.shape[1]}, not the size of its image"
        )
        classes = None
    taken: set[int] = set()
    for region in regions(values, (0, VOID)):
        number = _object_of(region, objects, taken)
        name = objects[number - 1].name if number else None
        if number:
            taken.add(number)
        elif classes is not None:
            name = _class_of(region, classes, labelmap)
        image.add_mask(name, region.bits, region.top, region.left, record=f"instance {region.value}")
    return taken


def _object_of(region: Region, objects: list[LabeledObject], taken: set[int]) -> int | None:
    """The number of the XML's object that a region is the mask of."""
    rows, columns = region.bits.shape
    around = (float(region.top), float(region.left), float(region.top + rows), float(region.left + columns))
    overlaps = {n: iou(around, o.box) for n, o in enumerate(objects, start=1) if o.box is not None and n not in taken}
    if overlaps.get(region.value, 0.0) >= _SAME_OBJECT:
        return region.value
    best = max(overlaps, key=overlaps.__getitem__, default=None)
    if best is not None and overlaps[best] >= _SAME_OBJECT:
        return best
    # A part of an object that others hide has a smaller box than the XML says.
    return region.value if overlaps.get(region.value, 0.0) > 0 else None


def _class_of(
    region: Region, classes: np.ndarray, labelmap: list[tuple[str, tuple[int, int, int]]] | None
) -> str | None:
    rows, columns = region.bits.shape
    window = classes[region.top : region.top + rows, region.left : region.left + columns][region.bits]
    if classes.ndim == 3:
        colors, counts = np.unique(window[:, :3], axis=0, return_counts=True)
        red, green, blue = (int(v) for v in colors[counts.argmax()])
        color = (red, green, blue)
        if labelmap is not None:
            return next((name for name, own in labelmap if own == color), None)
        number = _PALETTE.get(color)
    else:
        numbers, counts = np.unique(window, return_counts=True)
        number = int(numbers[counts.argmax()])
        if labelmap is not None:
            by_color = {own: name for name, own in labelmap}
            by_number = labelmap[number][0] if number < len(labelmap) else None
            return by_color.get(voc_color(number), by_number)
    return VOC_CLASSES[number - 1] if number is not None and 0 < number <= len(VOC_CLASSES) else None


def _indices(values: np.ndarray) -> np.ndarray:
    """A map whose values are ids: those of a palette, or colors of VOC's palette taken back to its indices."""
    if values.ndim == 2:
        return values
    packed = packed_colors(values)
    colors, inverse = np.unique(packed, return_inverse=True)
    by_color = {r + 256 * g + 65536 * b: index for (r, g, b), index in _PALETTE.items()}
    unknown = iter(range(256, 256 + len(colors)))
    ids = np.array([by_color[c] if c in by_color else next(unknown) for c in colors.tolist()], np.int64)
    return ids[inverse.reshape(packed.shape)]


def voc_color(index: int) -> tuple[int, int, int]:
    """The color of an index in VOC's palette.

    Example:
        >>> voc_color(1), voc_color(15)
        ((128, 0, 0), (192, 128, 128))
    """
    color = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            color[channel] |= ((index >> channel) & 1) << (7 - bit)
        index >>= 3
    return color[0], color[1], color[2]


_PALETTE = {voc_color(index): index for index in range(256)}


def read_labelmap(file: Path) -> list[tuple[str, tuple[int, int, int]]] | None:
    """The names and colors of labelmap.txt: "name:r,g,b:parts:actions" lines."""
    if not file.is_file():
        return None
    entries = []
    for number, line in enumerate(read_text(file).splitlines()):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        try:
            r, g, b = (int(v) for v in rest.partition(":")[0].split(","))
        except ValueError:
            r, g, b = voc_color(number)
        entries.append((name.strip(), (r, g, b)))
    return entries or None
