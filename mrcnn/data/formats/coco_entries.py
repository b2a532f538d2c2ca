"""The entries of a COCO file, checked one by one: images, categories and annotations."""

from __future__ import annotations

from collections import Counter
from typing import Any

from mrcnn.data.errors import DataError, DatasetIssue
from mrcnn.data.formats.coco_annotations import category_id
from mrcnn.data.formats.fields import as_id, as_number, short
from mrcnn.data.formats.image_lookup import ImageLookup
from mrcnn.data.images import image_shape
from mrcnn.data.rasterize import MAX_MASK_PIXELS
from mrcnn.text import printable


def entries_of(
    data: dict[str, Any], key: str, issues: list[DatasetIssue], path: str
) -> list[tuple[int, dict[str, Any]]]:
    """The entries of a list that are objects, with their places in it."""
    objects = []
    for number, entry in enumerate(data[key]):
        if isinstance(entry, dict):
            objects.append((number, entry))
        else:
            message = f"{key}[{number}]: expected an object, got {short(entry)}"
            issues.append(DatasetIssue("wrong type", message, path=path, fatal=True))
    return objects


def file_name(entry: dict[str, Any]) -> Any:
    """The file name of an image; of LVIS, which has none, the last two parts of its URL."""
    url = entry.get("coco_url")
    if "file_name" in entry or not isinstance(url, str):
        return entry.get("file_name")
    return "/".join(url.split("/")[-2:])


def completed(entry: dict[str, Any], lookup: ImageLookup) -> dict[str, Any]:
    """An image's entry with its file name, and with its size where only its file says it."""
    name = file_name(entry)
    if not isinstance(name, str):
        return entry
    if "file_name" not in entry:
        entry = {**entry, "file_name": name}
    if entry.get("height") is None and entry.get("width") is None:
        file = lookup.find_path(name)
        try:
            size = None if file is None else image_shape(file)
        except DataError:
            size = None
        if size is not None:
            return {**entry, "height": size[0], "width": size[1]}
    return entry


def drop_supercategory(
    categories: dict[int | str, dict[str, Any]],
    annotations: list[tuple[int, dict[str, Any]]],
    issues: list[DatasetIssue],
    path: str,
) -> None:
    """Drop the category 0 that Roboflow writes for the supercategory of all others, which no object has."""
    first = categories.get(0)
    others = [entry for category, entry in categories.items() if category != 0]
    if first is None or not others or any(entry.get("supercategory") != first["name"] for entry in others):
        return
    if any(category_id(entry.get("category_id")) == 0 for _, entry in annotations):
        return
    del categories[0]
    message = f"category 0, {short(first['name'])}, is the supercategory of all others and has no object; left out"
    issues.append(DatasetIssue("supercategory", message, path=path))


def read_categories(
    entries: list[tuple[int, dict[str, Any]]], issues: list[DatasetIssue], path: str
) -> dict[int | str, dict[str, Any]]:
    """Category id -> its entry, the name made printable."""
    categories: dict[int | str, dict[str, Any]] = {}

    def report(kind: str, message: str, fatal: bool = True) -> None:
        issues.append(DatasetIssue(kind, message, path=path, fatal=fatal))

    for number, entry in entries:
        missing = [key for key in ("id", "name") if key not in entry]
        if missing:
            report("missing key", f'categories[{number}]: "{missing[0]}" is missing')
            continue
        category, name = category_id(entry["id"]), entry["name"]
        if category is None or not isinstance(name, str):
            key = "id" if category is None else "name"
            report("wrong type", f'categories[{number}]: "{key}" is {short(entry[key])}, which is of the wrong type')
        elif category in categories:
            report("category id twice", f"category id {category} is given twice")
        else:
            if name != printable(name):
                report(
                    "class name",
                    f"category {category}: {short(printable(name))} holds control characters; escaped",
                    False,
                )
            if entry.get("keypoints") and not isinstance(entry["keypoints"], list):
                report(
                    "wrong type", f'categories[{number}]: "keypoints" is {short(entry["keypoints"])}, expected a list'
                )
            categories[category] = {**entry, "name": printable(name)}
    names = Counter(entry["name"] for entry in categories.values())
    for name, count in names.items():
        if count > 1:
            ids = ", ".join(str(category) for category, entry in categories.items() if entry["name"] == name)
            report("class name twice", f"categories {ids} are all named {short(name)}; kept as {count} classes", False)
    return categories


def read_images(
    entries: list[tuple[int, dict[str, Any]]], issues: list[DatasetIssue], path: str
) -> tuple[dict[int | str, dict[str, Any]], set[int | str]]:
    """Image id -> its entry, of those that can be used; and the ids of the others."""
    images: dict[int | str, dict[str, Any]] = {}
    refused: set[int | str] = set()
    for number, entry in entries:
        image_id = as_id(entry.get("id"))
        kind, message = _image_fault(number, entry, image_id)
        if not kind and image_id in images:
            kind, message = "image id twice", f"image id {image_id} is given twice"
        if not kind and image_id is not None:
            images[image_id] = entry
            continue
        issues.append(DatasetIssue(kind, message, path=path, fatal=True))
        if image_id is not None and image_id not in images:
            refused.add(image_id)
    return images, refused


def _image_fault(number: int, entry: dict[str, Any], image_id: int | str | None) -> tuple[str, str]:
    """Kind and message of what is wrong with an entry; empty if nothing is."""
    name = entry.get("file_name")
    where = f"image {image_id} ({name if isinstance(name, str) else short(name)})"
    where = f"images[{number}]" if image_id is None else where
    for key in ("id", "file_name", "height", "width"):
        if key not in entry:
            return "missing key", f'{where}: "{key}" is missing'
    sizes = [as_number(entry[key]) for key in ("height", "width")]
    good = (image_id is not None, isinstance(entry["file_name"], str), sizes[0] is not None, sizes[1] is not None)
    for key, is_good in zip(("id", "file_name", "height", "width"), good, strict=True):
        if not is_good:
            return "wrong type", f'{where}: "{key}" is {short(entry[key])}, which is of the wrong type'
    height, width = (size or 0.0 for size in sizes)
    if height < 1 or width < 1:
        return "image size", f"{where}: size {entry['height']} x {entry['width']}, expected at least 1 x 1"
    if height * width > MAX_MASK_PIXELS:
        return "image size", f"{where}: size {height:g} x {width:g}, expected at most {MAX_MASK_PIXELS} pixels"
    return "", ""


def size_of(entry: dict[str, Any]) -> tuple[int, int]:
    return int(entry["height"]), int(entry["width"])
