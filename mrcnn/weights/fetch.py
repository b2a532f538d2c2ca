"""One file over HTTP: the rest of what is here already, in as many attempts as it takes."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import ipaddress
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from mrcnn.errors import MrcnnError
from mrcnn.files import atomic_write
from mrcnn.text import printable
from mrcnn.weights.zoo import Checksum, ZooEntry

if TYPE_CHECKING:
    import requests

ATTEMPTS = 6
TIMEOUT = (10.0, 30.0)  # seconds to connect, and without a byte
BLOCK = 1 << 14  # bytes; what arrived of the last one is lost when a server breaks off
MAX_REDIRECTS = 10
_WAIT = 0.5  # seconds before the second attempt, doubled each time
_SIZE_TOLERANCE = 0.05  # published sizes are rounded

Progress = Callable[[int, "int | None"], None]
"""Called with the bytes that are there and their number in all, None while that is not known."""


class DownloadError(MrcnnError, OSError):
    """A file could not be fetched, or is not the one that was asked for; names the address and what to do."""


def part_of(path: Path) -> Path:
    """Where what has arrived of a file lies."""
    return path.with_name(f".{path.name}.part")


def part_record_of(path: Path) -> Path:
    """Where it is noted of which version of the file the part is."""
    return path.with_name(f".{path.name}.part.json")


class Digests:
    """SHA-256 of a file, and the algorithm of its published checksum where that is another."""

    def __init__(self, checksum: Checksum | None) -> None:
        self._sha256 = hashlib.sha256()
        other = checksum is not None and checksum.algorithm != "sha256"
        self._other = hashlib.new(checksum.algorithm, usedforsecurity=False) if checksum and other else None

    def update(self, block: bytes) -> None:
        """Add bytes."""
        self._sha256.update(block)
        if self._other is not None:
            self._other.update(block)

    def update_from(self, path: Path) -> None:
        """Add a file's bytes."""
        with open(path, "rb") as file:
            while block := file.read(BLOCK):
                self.update(block)

    @property
    def sha256(self) -> str:
        """64 hexadecimal digits."""
        return self._sha256.hexdigest()

    def matches(self, checksum: Checksum | None) -> bool:
        """Whether a published checksum, if there is one, is that of these bytes."""
        return checksum is None or self.of(checksum).startswith(checksum.prefix)

    def of(self, checksum: Checksum) -> str:
        """The digest by a checksum's algorithm."""
        return self.sha256 if self._other is None else self._other.hexdigest()


def fetch(entry: ZooEntry, path: Path, progress: Progress, headers: Mapping[str, str] | None = None) -> Digests:
    """Bring the whole file to `part_of(path)`, in as many attempts as it takes.

    Args:
        entry: which file, and what is known of it.
        path: where it will be.
        progress: see `Progress`.
        headers: sent to the entry's own server only, such as a token; None: none.
    """
    import requests

    reason: object = ""
    most = 0
    failures = 0
    while failures < ATTEMPTS:
        if failures:
            time.sleep(_WAIT * 2 ** (failures - 1))
        try:
            return _attempt(entry, path, progress, headers or {})
        except requests.RequestException as error:
            reason = error
        except _BrokenOff as error:
            reason = error
        now = part_of(path).stat().st_size if part_of(path).exists() else 0
        failures = failures + 1 if now <= most else 1  # a server that breaks off again and again still gets there
        most = max(most, now)
    raise DownloadError(
        f"{entry.url}: {most} bytes arrived, then {ATTEMPTS} attempts without a further one; the last: {reason}."
        " What has arrived is kept; try again later"
    )


class _BrokenOff(Exception):
    """The server ended before the file did."""


def _attempt(entry: ZooEntry, path: Path, progress: Progress, own: Mapping[str, str]) -> Digests:
    import requests

    part = part_of(path)
    have = part.stat().st_size if part.exists() else 0
    validator = _validator(path)
    headers = {"Accept-Encoding": "identity"}
    if have and validator:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    else:
        have = 0
    with requests.Session() as session, _open(session, entry.url, headers, own) as response:
        if response.status_code == 416:  # nothing after the part: it is whole, or another file's
            if response.headers.get("Content-Range", "") != f"bytes */{have}":
                part.unlink(missing_ok=True)
                raise _BrokenOff("the server has no further bytes")
            digests = Digests(entry.checksum)
            digests.update_from(part)
            return digests
        have, total = _continues_at(response, have)
        if total is not None and entry.size is not None and total != entry.size:
            raise DownloadError(f"{entry.url}: the file there has {total} bytes, expected {entry.size}")
        _expect_plausible(entry, total)
        digests = Digests(entry.checksum)
        if have:
            digests.update_from(part)
        else:
            part.unlink(missing_ok=True)
            _note_validator(path, response)
        with open(part, "ab") as file:
            for block in response.iter_content(BLOCK):
                file.write(block)
                digests.update(block)
                have += len(block)
                if total is not None and have > total:
                    break
                progress(have, total)
        if total is not None and have != total:
            if have > total:
                part.unlink(missing_ok=True)
            raise _BrokenOff(f"{have} of {total} bytes arrived")
    return digests


def _continues_at(response: requests.Response, have: int) -> tuple[int, int | None]:
    """From which byte on an answer is, and how long the file is."""
    if response.status_code == 206:
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", ""))
        if match and int(match[1]) == have:
            return have, None if match[3] == "*" else int(match[3])
        raise _BrokenOff(f"another range than asked for: {response.headers.get('Content-Range')!r}")
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _validator(path: Path) -> str:
    try:
        return str(json.loads(part_record_of(path).read_text(encoding="utf-8"))["validator"])
    except (OSError, ValueError, KeyError, TypeError):  # nothing that says whether the part is of the same file
        return ""


def _note_validator(path: Path, response: requests.Response) -> None:
    etag = response.headers.get("ETag", "")
    validator = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")
    with atomic_write(part_record_of(path)) as temporary:
        temporary.write_text(json.dumps({"validator": validator}), encoding="utf-8")


@contextlib.contextmanager
def _open(
    session: requests.Session, url: str, headers: Mapping[str, str], own: Mapping[str, str]
) -> Iterator[requests.Response]:
    """A streaming answer; redirects are followed here, so that none leads to plain http or takes a token elsewhere."""
    start = url
    for _ in range(MAX_REDIRECTS + 1):
        expect_allowed(url, start)
        sent = {**headers, **(own if _server(url) == _server(start) else {})}
        with session.get(url, headers=sent, stream=True, timeout=TIMEOUT, allow_redirects=False) as response:
            if response.is_redirect:
                url = urljoin(url, response.headers["location"])
                continue
            if response.status_code in (408, 425, 429) or response.status_code >= 500:
                raise _BrokenOff(f"the server answered {response.status_code} {response.reason}")
            if response.status_code not in (200, 206, 416):
                raise DownloadError(f"{start}: the server answered {response.status_code} {response.reason}")
            yield response
            return
    raise DownloadError(f"{start}: more than {MAX_REDIRECTS} redirects")


def _server(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def expect_allowed(url: str, start: str) -> None:
    """Only https, so that nobody on the way can put another file in place; http on this machine."""
    try:
        parts = urlsplit(url)
        scheme, host = parts.scheme, parts.hostname or ""
    except ValueError as error:
        raise DownloadError(f"{printable(url)}: not an address: {error}") from error
    if (scheme == "https" and host) or (scheme == "http" and _is_loopback(host)):
        return
    redirected = "" if url == start else f"{start} redirects to "
    raise DownloadError(f"{redirected}{printable(url)}: only https addresses are fetched (http on this machine alone)")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _expect_plausible(entry: ZooEntry, total: int | None) -> None:
    if total is None or entry.size_mb is None or entry.size_estimated:
        return
    if total > entry.size_mb * (1 << 20) * (1 + _SIZE_TOLERANCE) or total < entry.size_mb * 1e6 * (1 - _SIZE_TOLERANCE):
        raise DownloadError(
            f"{entry.url}: the file there has {total / 1e6:.1f} MB, published are {entry.size_mb:.0f} MB: another file"
        )


def discard_if_full(error: OSError, path: Path) -> None:
    """A part that filled the disk is removed: it would stand in the way of whatever makes space."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        part_of(path).unlink(missing_ok=True)
        part_record_of(path).unlink(missing_ok=True)
