"""Published weights by name: what each is, where it lies, how its file is recognized.

The rows are data, `zoo.json` beside this module; `MRCNN_ZOO` names a file with more of them. Nothing is downloaded
here, see `weights.download`.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from mrcnn.errors import MrcnnError
from mrcnn.text import printable

VARIABLE = "MRCNN_ZOO"
"""Environment variable: a JSON file, a list of objects, whose rows come before the built-in ones of the same name."""

_NAME = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")  # of the built-in rows: family/network
_HEX = re.compile(r"[0-9a-f]+")
_ALGORITHMS = {"sha256": 64, "md5": 32}  # hexadecimal digits of each


class ZooError(MrcnnError, ValueError):
    """No weights of this name, or a table of weights that cannot be used; names the row and the field."""


@dataclasses.dataclass(frozen=True)
class Checksum:
    """The beginning of a file's digest, as publishers write it into file names.

    Attributes:
        algorithm: "sha256" or "md5". torchvision's names end in eight digits of SHA-256 (`torch.hub` checks them),
            detectron2's in six of MD5 (its MODEL_ZOO.md).
        prefix: lowercase hexadecimal digits; all of them for the whole digest.
    """

    algorithm: str
    prefix: str

    def is_whole(self) -> bool:
        """True if the digest is stated to its last digit."""
        return len(self.prefix) == _ALGORITHMS[self.algorithm]


@dataclasses.dataclass(frozen=True)
class ZooEntry:
    """Weights that somebody has published.

    Attributes:
        name: "family/network", as users write it.
        family: the program that wrote the file: "torchvision", "detectron2", "detectron", "matterport", "mrcnn", ...
        url: where the file is.
        license: as the publisher states it.
        task: "masks", "keypoints" or "boxes"; "backbone" for ImageNet classifiers; "" where it is not stated.
        checksum: how the file is recognized; None: the first download is pinned.
        size: bytes, exactly; None: not known.
        size_mb: the size in MB as published, or estimated from the number of parameters (`size_estimated`).
        ap: published AP in percent, on COCO val2017 where the label names no other data, by "box", "mask", "keypoints";
            of a classifier "top_1", the published accuracy in percent on ImageNet.
        recipe: the named recipe of the same network; "" if there is none.
        golden: the golden file that shows agreement with the publisher's program, or the nearest one.
        group, label, schedule, id: its place in docs/model_zoo.md.
    """

    name: str
    family: str
    url: str
    license: str
    task: str = ""
    checksum: Checksum | None = None
    size: int | None = None
    size_mb: float | None = None
    size_estimated: bool = False
    ap: Mapping[str, float] = dataclasses.field(default_factory=dict)
    recipe: str = ""
    golden: str = ""
    group: str = ""
    label: str = ""
    schedule: str = ""
    id: str = ""

    @property
    def filename(self) -> str:
        """The file's own name, the last part of its address."""
        return file_name(self.url)

    def describe_size(self) -> str:
        """The size for people: "170 MB", "about 178 MB", "size unknown"."""
        if self.size is not None:
            return f"{self.size / 1e6:.1f} MB"
        if self.size_mb is not None:
            return f"about {self.size_mb:.0f} MB"
        return "size unknown"


def file_name(url: str) -> str:
    """The name of the file an address ends in, without query; "weights" where it ends in a slash."""
    return re.sub(r"[^\w.-]", "_", re.sub(r"[?#].*", "", url).rsplit("/", 1)[-1]) or "weights"


def published_weights() -> dict[str, ZooEntry]:
    """All published weights by name: the rows of `MRCNN_ZOO`, then the built-in ones.

    Raises:
        ZooError: the file of `MRCNN_ZOO` cannot be read, or a row lacks a field or has one of a wrong type.

    Example:
        >>> published_weights()["detectron2/mask_rcnn_r50_fpn_3x"].ap["mask"]
        37.2
    """
    text = resources.files("mrcnn.weights").joinpath("zoo.json").read_text(encoding="utf-8")
    entries = _parse(text, "zoo.json")
    if path := os.environ.get(VARIABLE):
        try:
            own = Path(path).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ZooError(f"{VARIABLE}={path}: cannot be read: {error}") from error
        entries = {**entries, **_parse(own, f"{VARIABLE}={path}")}
    return entries


def find_entry(name: str) -> ZooEntry:
    """The weights of a name.

    Raises:
        ZooError: there are none; names the three nearest.

    Example:
        >>> find_entry("torchvision/maskrcnn_resnet50_fpn").checksum
        Checksum(algorithm='sha256', prefix='bf2d0c1e')
    """
    entries = published_weights()
    if name in entries:
        return entries[name]
    near = difflib.get_close_matches(name, entries, n=3, cutoff=0.0)
    by_end = [known for known in entries if known.rsplit("/", 1)[-1] == name.rsplit("/", 1)[-1]]
    suggested = ", ".join(list(dict.fromkeys([*by_end, *near]))[:3])
    raise ZooError(
        f"no published weights are named {printable(name)!r}; nearest: {suggested} (all: mrcnn weights --list)"
    )


def recognize(path: Path, family: str) -> ZooEntry | None:
    """The published weights that a file holds, whatever it is called.

    Known by the checksum that a publisher states; where none is stated, by a name that only one of the family has.

    Args:
        path: the file, which is read once.
        family: whose weights they are, see `mrcnn.weights.network.Family`.
    """
    candidates = [e for e in published_weights().values() if family.split("_")[0] == e.family]
    stated = [(e.checksum, e) for e in candidates if e.checksum is not None]
    digests = _digests(path, {checksum.algorithm for checksum, _ in stated})
    for checksum, entry in stated:
        if digests[checksum.algorithm].startswith(checksum.prefix):
            return entry
    by_name = [e for e in candidates if e.filename == path.name]
    return by_name[0] if len(by_name) == 1 and by_name[0].checksum is None else None


def _digests(path: Path, algorithms: Iterable[str]) -> dict[str, str]:
    """Hexadecimal digests of a file, by algorithm."""
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in algorithms}
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            for digest in hashes.values():
                digest.update(block)
    return {name: digest.hexdigest() for name, digest in hashes.items()}


def is_name(text: str) -> bool:
    """True if a text is a name of weights rather than a path: it begins with a family, and no such file exists.

    Example:
        >>> is_name("detectron2/mask_rcnn_r50_fpn_3x"), is_name("runs/nuts")
        (True, False)
    """
    if not _NAME.fullmatch(text) or "/" not in text or os.path.exists(text):
        return False
    entries = published_weights()
    return text in entries or text.split("/")[0] in {entry.family for entry in entries.values()}


def _parse(text: str, source: str) -> dict[str, ZooEntry]:
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise ZooError(f"{source}: not JSON: {error}") from error
    if not isinstance(rows, list):
        raise ZooError(f"{source}: expected a list of objects, got {type(rows).__name__}")
    entries: dict[str, ZooEntry] = {}
    for number, row in enumerate(rows):
        entry = _entry(row, f"{source}: row {number}")
        if entry.name in entries:
            raise ZooError(f"{source}: row {number}: the name {entry.name!r} stands twice")
        entries[entry.name] = entry
    return entries


_TEXTS = ("name", "family", "url", "license", "task", "recipe", "golden", "group", "label", "schedule", "id")


def _entry(row: Any, where: str) -> ZooEntry:
    if not isinstance(row, dict):
        raise ZooError(f"{where}: expected an object, got {type(row).__name__}")
    for field in ("name", "url", "family", "license"):
        if field not in row:
            raise ZooError(f"{where}: lacks {field!r}; needed are name, url, family and license")
    for field in _TEXTS:
        if field in row and not (isinstance(row[field], str) and (row[field] or field not in _TEXTS[:3])):
            raise ZooError(f"{where}: {field}: expected text, got {row[field]!r}")
    if not _NAME.fullmatch(row["name"]) or ".." in row["name"].split("/"):
        raise ZooError(
            f"{where}: name: expected letters, digits, '_', '.', '-' and '/', got {printable(row['name'])!r}"
        )
    size = row.get("size")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size <= 0):
        raise ZooError(f"{where}: size: expected the number of bytes, got {size!r}")
    known = {field.name for field in dataclasses.fields(ZooEntry)} | {"sha256"}
    if unknown := set(row) - known:
        raise ZooError(f"{where}: unknown field {sorted(unknown)[0]!r}; known are {', '.join(sorted(known))}")
    values = {field: value for field, value in row.items() if field not in ("sha256", "checksum")}
    return ZooEntry(**values, checksum=_checksum(row, where))


def _checksum(row: Mapping[str, Any], where: str) -> Checksum | None:
    if "sha256" in row:
        stated = Checksum("sha256", str(row["sha256"]).lower())
        if not stated.is_whole():
            raise ZooError(f"{where}: sha256: expected 64 hexadecimal digits, got {row['sha256']!r}")
    elif isinstance(row.get("checksum"), dict):
        stated = Checksum(str(row["checksum"].get("algorithm")), str(row["checksum"].get("prefix")).lower())
    elif row.get("checksum") is None:
        return None
    else:
        raise ZooError(f"{where}: checksum: expected an object with algorithm and prefix, got {row['checksum']!r}")
    if stated.algorithm not in _ALGORITHMS:
        raise ZooError(f"{where}: checksum: expected the algorithm sha256 or md5, got {stated.algorithm!r}")
    if not _HEX.fullmatch(stated.prefix) or len(stated.prefix) > _ALGORITHMS[stated.algorithm]:
        raise ZooError(f"{where}: checksum: expected hexadecimal digits, got {stated.prefix!r}")
    return stated
