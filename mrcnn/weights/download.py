"""Weights files from the network: each fetched once, whole and checked before it gets its name.

A download may be cut off anywhere. What has arrived stays beside the file's place and the next attempt asks for the
rest; the final name appears only after length and checksum were compared. A file without a published checksum is
pinned: its digest at the first download is kept, and any other file at that address is refused later.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from mrcnn.files import atomic_write
from mrcnn.text import file_stem, printable
from mrcnn.weights import hub
from mrcnn.weights.download_progress import default_progress
from mrcnn.weights.fetch import (
    Digests,
    DownloadError,
    Progress,
    discard_if_full,
    expect_allowed,
    fetch,
    part_of,
    part_record_of,
)
from mrcnn.weights.zoo import ZooEntry, file_name, find_entry, is_name

_log = logging.getLogger(__name__)

OFFLINE = "MRCNN_OFFLINE"
"""Environment variable: with 1 nothing is fetched; only files that are there already are used."""


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


def local_file(source: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """What stands for weights, as a file here: a name and an address are downloaded, a path stays as it is.

    Args:
        source: a path; a name of `mrcnn weights --list`, "detectron2/mask_rcnn_r50_fpn_3x"; "https://..."; or
            "hf://user/repo", see `download_weights`.

    Returns:
        A path. One that does not exist is returned too: whoever reads it says so.

    Raises:
        ZooError: a name of the form "family/network" of a known family, but no such weights.
        DownloadError: see `download`.

    Example:
        >>> local_file("model.safetensors")
        'model.safetensors'
    """
    text = os.fspath(source)
    if re.match(r"https?:/", text) or hub.is_hub_address(text) or is_name(text):
        return download_weights(text)
    return source


def download_weights(
    name: str,
    *,
    refresh: bool = False,
    progress: Progress | None = None,
    log: Callable[[str], None] | None = None,
) -> Path:
    """Published weights as a file here, fetched once and checked.

    Args:
        name: one of `published_weights()`; an https address; or "hf://user/repo", "hf://user/repo@revision",
            "hf://user/repo@revision/file" on the Hugging Face Hub: without a file, its model.safetensors, or its only
            file of weights; without a revision, its main branch. What a branch stood for at first is kept.
        refresh: ask the Hub again what a branch stands for now.
        progress: see `download`.
        log: see `download`.

    Returns:
        The path of the file, for `load_pretrained`, which also takes the name itself.

    Raises:
        ZooError: no such name; the nearest are suggested.
        DownloadError: see `download`.
    """
    if not hub.is_hub_address(name):
        return download(_entry_of(name), progress=progress, log=log)
    resolved = hub.resolve(hub.parse_address(name), cache_folder(), offline=_is_offline(), refresh=refresh)
    return download(resolved.entry, headers=resolved.headers, progress=progress, log=log)


def remove_download(name: str) -> list[Path]:
    """Delete what was downloaded under a name or from an address.

    Returns:
        The files that are gone.

    Raises:
        DownloadError: nothing of this name has been downloaded.
    """
    urls = hub.forget(hub.parse_address(name), cache_folder()) if hub.is_hub_address(name) else set()
    chosen = [stored for stored in downloaded_weights() if name in (stored.name, stored.url) or stored.url in urls]
    if not chosen:
        raise DownloadError(f"{printable(name)} has not been downloaded (see: mrcnn download --list)")
    for stored in chosen:
        remove(stored)
    return [stored.path for stored in chosen]


def _entry_of(name: str) -> ZooEntry:
    """An entry by its name or address; a `Path` holds one slash of the two after https."""
    match = re.match(r"(https?):/+", name)
    return entry_of_url(f"{match[1]}://{name[match.end() :]}") if match else find_entry(name)


def entry_of_url(url: str) -> ZooEntry:
    """A plain address as an entry without name, license or checksum."""
    return ZooEntry(name="", family="", url=url, license="")


def place_of(entry: ZooEntry) -> Path:
    """Where an entry's file is, or will be.

    Each address has a folder of its own, so files of one name do not replace each other.
    """
    digest = hashlib.sha256(entry.url.encode()).hexdigest()[:12]
    name = file_name(entry.url)
    return cache_folder() / f"{file_stem(Path(name).stem, 80)}-{digest}" / name


def download(
    entry: ZooEntry,
    *,
    headers: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    log: Callable[[str], None] | None = None,
) -> Path:
    """The file of an entry, fetched if it is not there yet.

    Several processes may ask at once: one fetches, the others wait for it. Proxies are taken from the environment
    (`HTTPS_PROXY`, `NO_PROXY`). A file that is there is compared with its digest and costs no request.

    Args:
        entry: from `zoo.find_entry`, or `entry_of_url("https://...")`.
        headers: sent to the entry's own server only, such as a token; None: none.
        progress: see `Progress`; None: a bar on stderr where it is a terminal, else a line at beginning and end.
        log: called with the license, once, when the file is fetched; None: logged.

    Returns:
        Its path in the cache.

    Raises:
        DownloadError: the address is not https (plain http is for this machine only); `MRCNN_OFFLINE=1` and the file is
            not there; the server does not answer, breaks off again and again or sends another file; the disk is full or
            the cache cannot be written. Nothing stands under the final name then.
    """
    expect_allowed(entry.url, entry.url)
    path = place_of(entry)
    if (stored := _stored(path)) and _is_intact(stored, entry):
        return path
    if stored is None and path.exists():
        with _locked(path):
            if _adopt(entry, path):
                return path
    if _is_offline():
        raise DownloadError(
            f"{path} is damaged or another file and {OFFLINE} is set: put the file of {entry.url} there again"
            if path.exists()
            else f"{entry.url} ({entry.describe_size()}) is not in the cache and {OFFLINE} is set: fetch it elsewhere"
            f" and put it at {path}"
        )
    try:
        with _locked(path):
            stored = _stored(path)  # another process may have fetched it meanwhile
            if not (stored and _is_intact(stored, entry)):
                _fetch_and_keep(entry, path, headers, progress or default_progress(entry), log or _log.info)
    except DownloadError:
        raise
    except OSError as error:
        discard_if_full(error, path)
        raise DownloadError(
            f"{error.filename or path}: cannot be written: {error.strerror or error}; free some space or set"
            " MRCNN_CACHE_DIR to another folder"
        ) from error
    return path


def _is_offline() -> bool:
    return os.environ.get(OFFLINE, "") not in ("", "0")


def downloaded_weights() -> list[Stored]:
    """What the cache holds, by path."""
    records = sorted(cache_folder().glob("*/*.json")) if cache_folder().is_dir() else []
    candidates = (_stored(record.with_name(record.name[: -len(".json")])) for record in records)
    return [stored for stored in candidates if stored is not None]


def remove(stored: Stored) -> None:
    """Delete a downloaded file. Its pinned digest is kept, so that another file at that address is still refused."""
    with _locked(stored.path):
        for path in (stored.path, _record_of(stored.path), part_of(stored.path), part_record_of(stored.path)):
            path.unlink(missing_ok=True)
    shutil.rmtree(stored.path.parent, ignore_errors=True)


def _record_of(path: Path) -> Path:
    return path.with_name(path.name + ".json")


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    import filelock

    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path.with_name(f".{path.name}.lock")):
        yield


def _stored(path: Path) -> Stored | None:
    try:
        record = json.loads(_record_of(path).read_text(encoding="utf-8"))
        return Stored(path, str(record["url"]), str(record["sha256"]), int(record["size"]), str(record.get("name", "")))
    except (OSError, ValueError, KeyError, TypeError):  # no record, or half of one: the file counts as not there
        return None


def _is_intact(stored: Stored, entry: ZooEntry) -> bool:
    """True if the file is the one that was downloaded, to the last bit; it is read once."""
    try:
        if stored.path.stat().st_size != stored.size:
            return False
    except OSError:
        return False
    digests = Digests(entry.checksum)
    digests.update_from(stored.path)
    return digests.sha256 == stored.sha256 and digests.matches(entry.checksum)


def _fetch_and_keep(
    entry: ZooEntry,
    path: Path,
    headers: Mapping[str, str] | None,
    progress: Progress,
    log: Callable[[str], None],
) -> None:
    if entry.license:
        log(f"{entry.name}: license of these weights: {entry.license}")
    digests = fetch(entry, path, progress, headers)
    part = part_of(path)
    size = part.stat().st_size
    problem = _problem(entry, digests, size, part)
    if problem:
        part.unlink(missing_ok=True)
        part_record_of(path).unlink(missing_ok=True)
        raise DownloadError(f"{entry.url}: {problem}")
    path.unlink(missing_ok=True)
    _keep_record(entry, path, digests.sha256, size)
    os.replace(part, path)
    part_record_of(path).unlink(missing_ok=True)


def _adopt(entry: ZooEntry, path: Path) -> bool:
    """Whether a file that somebody put in place is the one asked for; then it counts as downloaded."""
    digests = Digests(entry.checksum)
    digests.update_from(path)
    size = path.stat().st_size
    if _problem(entry, digests, size, path):
        return False
    _keep_record(entry, path, digests.sha256, size)
    return True


def _keep_record(entry: ZooEntry, path: Path, sha256: str, size: int) -> None:
    _pin(entry, sha256)
    record = {"url": entry.url, "name": entry.name, "sha256": sha256, "size": size}
    with atomic_write(_record_of(path)) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _problem(entry: ZooEntry, digests: Digests, size: int, part: Path) -> str:
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
    with _locked(_pins_file()):
        pins = _pins()
        if pins.get(entry.url) != sha256:
            with atomic_write(_pins_file()) as temporary:
                temporary.write_text(json.dumps({**pins, entry.url: sha256}, indent=1) + "\n", encoding="utf-8")
