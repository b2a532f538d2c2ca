"""The cache of downloaded weights: where a file lies, what is known of it, and what digest its address is pinned to.

A file without a published checksum is pinned: its digest at the first download is kept, and any other file at that
address is refused later.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from mrcnn.files import atomic_write
from mrcnn.text import file_stem
from mrcnn.weights.fetch import Digests, DownloadError, part_of, part_record_of
from mrcnn.weights.zoo import ZooEntry, file_name


@dataclasses.dataclass(frozen=True)
class Stored:
    """A downloaded file.

    Attributes:
        path: where it is.
        url: where it came from.
        sha256: its digest.
        size: bytes.
        name: of which published weights; "" for a plain address.
    """

    path: Path
    url: str
    sha256: str
    size: int
    name: str = ""


def cache_folder() -> Path:
    """Where downloaded weights are: $MRCNN_CACHE_DIR/weights, or `mrcnn/weights` in the user's cache folder."""
    if folder := os.environ.get("MRCNN_CACHE_DIR"):
        return Path(folder).expanduser() / "weights"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mrcnn" / "weights"


def place_of(entry: ZooEntry) -> Path:
    """Where an entry's file is, or will be.

    Each address has a folder of its own, so files of one name do not replace each other.
    """
    digest = hashlib.sha256(entry.url.encode()).hexdigest()[:12]
    name = file_name(entry.url)
    return cache_folder() / f"{file_stem(Path(name).stem, 80)}-{digest}" / name


def downloaded_weights() -> list[Stored]:
    """What the cache holds, by path."""
    records = sorted(cache_folder().glob("*/*.json")) if cache_folder().is_dir() else []
    candidates = (stored_file(record.with_name(record.name[: -len(".json")])) for record in records)
    return [stored for stored in candidates if stored is not None]


def remove(stored: Stored) -> None:
    """Delete a downloaded file. Its pinned digest is kept, so that another file at that address is still refused."""
    with locked(stored.path):
        for path in (stored.path, record_of(stored.path), part_of(stored.path), part_record_of(stored.path)):
            path.unlink(missing_ok=True)
    shutil.rmtree(stored.path.parent, ignore_errors=True)


def record_of(path: Path) -> Path:
    """Where it is written what a file is."""
    return path.with_name(path.name + ".json")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time, for a file."""
    import filelock

    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path.with_name(f".{path.name}.lock")):
        yield


def stored_file(path: Path) -> Stored | None:
    """What is known of a file, which may have been changed since; None: it was not downloaded."""
    try:
        record = json.loads(record_of(path).read_text(encoding="utf-8"))
        return Stored(path, str(record["url"]), str(record["sha256"]), int(record["size"]), str(record.get("name", "")))
    except (OSError, ValueError, KeyError, TypeError):  # no record, or half of one: the file counts as not there
        return None


def is_intact(stored: Stored, entry: ZooEntry) -> bool:
    """True if the file is the one that was downloaded, to the last bit; it is read once."""
    try:
        if stored.path.stat().st_size != stored.size:
            return False
    except OSError:
        return False
    digests = Digests(entry.checksum)
    digests.update_from(stored.path)
    return digests.sha256 == stored.sha256 and digests.matches(entry.checksum)


def adopt(entry: ZooEntry, path: Path) -> bool:
    """Whether a file that somebody put in place is the one asked for; then it counts as downloaded."""
    digests = Digests(entry.checksum)
    digests.update_from(path)
    size = path.stat().st_size
    if problem_of(entry, digests, size, path):
        return False
    keep_record(entry, path, digests.sha256, size)
    return True


def keep_record(entry: ZooEntry, path: Path, sha256: str, size: int) -> None:
    """Write down what a file is, and pin its address to it."""
    _pin(entry, sha256)
    record = {"url": entry.url, "name": entry.name, "sha256": sha256, "size": size}
    with atomic_write(record_of(path)) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def problem_of(entry: ZooEntry, digests: Digests, size: int, part: Path) -> str:
    """Why a complete download is not the file that was asked for; "" if it is."""
    with open(part, "rb") as file:
        beginning = file.read(512).lstrip().lower()
    if beginning.startswith((b"<!doctype html", b"<html", b"<?xml")):
        return "the server sent a web page instead of a file: is a login needed, or has the address changed?"
    if entry.size is not None and size != entry.size:
        return f"{size} bytes arrived, expected {entry.size}; the file there is another one"
    checksum = entry.checksum
    if checksum is not None and not digests.matches(checksum):
        length = len(checksum.prefix)
        return (
            f"the {checksum.algorithm} of what arrived begins with {digests.of(checksum)[:length]}, expected"
            f" {checksum.prefix}: the file there is another one or was damaged on the way"
        )
    pinned = _pins().get(entry.url)
    if pinned is not None and pinned != digests.sha256:
        return (
            f"the sha256 of what arrived is {digests.sha256}, at the first download it was {pinned}: the file there has"
            f" changed. If that is intended, remove the line of this address from {_pins_file()}"
        )
    return ""


def _pins_file() -> Path:
    return cache_folder() / "pins.json"


def _pins() -> dict[str, str]:
    try:
        pins = json.loads(_pins_file().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DownloadError(f"{_pins_file()}: the pinned checksums cannot be read: {error}") from error
    return {str(url): str(digest) for url, digest in pins.items()} if isinstance(pins, dict) else {}


def _pin(entry: ZooEntry, sha256: str) -> None:
    with locked(_pins_file()):
        pins = _pins()
        if pins.get(entry.url) != sha256:
            with atomic_write(_pins_file()) as temporary:
                temporary.write_text(json.dumps({**pins, entry.url: sha256}, indent=1) + "\n", encoding="utf-8")
