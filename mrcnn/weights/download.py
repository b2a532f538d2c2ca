"""Weights files from the network: each fetched once, whole and checked before it gets its name.

A download may be cut off anywhere. What has arrived stays beside the file's place and the next attempt asks for the
rest; the final name appears only after length and checksum were compared. See `weights.cache` for what is kept.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from mrcnn.text import printable
from mrcnn.weights import hub
from mrcnn.weights.cache import (
    adopt,
    cache_folder,
    downloaded_weights,
    is_intact,
    keep_record,
    locked,
    place_of,
    problem_of,
    remove,
    stored_file,
)
from mrcnn.weights.download_progress import default_progress
from mrcnn.weights.fetch import (
    DownloadError,
    Progress,
    discard_if_full,
    expect_allowed,
    fetch,
    part_of,
    part_record_of,
)
from mrcnn.weights.zoo import ZooEntry, find_entry, is_name

_log = logging.getLogger(__name__)

OFFLINE = "MRCNN_OFFLINE"
"""Environment variable: with 1 nothing is fetched; only files that are there already are used."""


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
    if (stored := stored_file(path)) and is_intact(stored, entry):
        return path
    if stored is None and path.exists():
        with locked(path):
            if adopt(entry, path):
                return path
    if _is_offline():
        raise DownloadError(
            f"{path} is damaged or another file and {OFFLINE} is set: put the file of {entry.url} there again"
            if path.exists()
            else f"{entry.url} ({entry.describe_size()}) is not in the cache and {OFFLINE} is set: fetch it elsewhere"
            f" and put it at {path}"
        )
    try:
        with locked(path):
            stored = stored_file(path)  # another process may have fetched it meanwhile
            if not (stored and is_intact(stored, entry)):
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
    problem = problem_of(entry, digests, size, part)
    if problem:
        part.unlink(missing_ok=True)
        part_record_of(path).unlink(missing_ok=True)
        raise DownloadError(f"{entry.url}: {problem}")
    path.unlink(missing_ok=True)
    keep_record(entry, path, digests.sha256, size)
    os.replace(part, path)
    part_record_of(path).unlink(missing_ok=True)
