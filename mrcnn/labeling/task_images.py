"""The images of Label Studio's tasks, fetched from wherever a task says they are, within limits."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import io
import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from mrcnn.data.errors import DataError
from mrcnn.data.images import read_opened
from mrcnn.data.read_options import ReadOptions
from mrcnn.errors import InputError
from mrcnn.text import printable

MAX_BYTES = 100_000_000
"""Largest image file that is fetched."""
MAX_PIXELS = 100_000_000
_TIMEOUT = (5, 30)  # seconds to connect, and between two pieces of an answer
_TOTAL = 120.0  # seconds for a whole image
_PIECE = 1 << 16
_LOCAL = "/data/local-files/"
_SHOWN = 100


@dataclasses.dataclass(frozen=True)
class TaskImages:
    """Where images may come from.

    Attributes:
        files: the folder that Label Studio serves as local files (its LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT); nothing
            outside it is read. None: local files are asked of Label Studio itself.
        url: of Label Studio, for uploads and what else it serves.
        api_key: of a user there, sent to this address only: an access token, or a personal one (which is exchanged).
        max_bytes: of a file.
        max_pixels: of an image.

    Raises:
        InputError: `files` is no folder, or `url` no address.
    """

    files: Path | None = None
    url: str | None = None
    api_key: str | None = dataclasses.field(default=None, repr=False)
    max_bytes: int = MAX_BYTES
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        if self.files is not None and not self.files.is_dir():
            raise InputError(f"{self.files}: expected the folder that Label Studio serves as local files")
        if self.url is not None and not _is_web(self.url):
            raise InputError(f"{self.url}: expected the address of Label Studio, such as http://localhost:8080")

    def read(self, address: str) -> np.ndarray:
        """u8[h, w, 3], RGB, of what a task gives as its image.

        Args:
            address: `data:image/...;base64,...`, `/data/local-files/?d=...`, `/data/upload/...` and other paths of
                Label Studio, `http://...` or `https://...`.

        Raises:
            InputError: an address of another kind, outside `files`, or of Label Studio whose own is not known.
            DataError: no such image, too large, no image.
        """
        content = self._content(address)
        options = ReadOptions(max_pixels=self.max_pixels)
        return read_opened(io.BytesIO(content), _short(address), options=options)

    def _content(self, address: str) -> bytes:
        if address.startswith("data:"):
            return self._embedded(address)
        if _is_web(address):
            if self.url is not None and _origin(address) == _origin(self.url):
                return self._of_label_studio(address)
            return self._fetch(address, {})
        if not address.startswith("/"):
            raise InputError(
                f"{_short(address)}: expected data:, http:, https:, or a path of Label Studio such as /data/upload/..."
            )
        if address.startswith(_LOCAL) and self.files is not None:
            return self._local(address, self.files)
        if self.url is None:
            raise InputError(f"{_short(address)}: a path of Label Studio, whose address is needed (--label-studio-url)")
        return self._of_label_studio(self.url.rstrip("/") + address)

    def _embedded(self, address: str) -> bytes:
        header, comma, data = address.partition(",")
        if not comma or not header.endswith(";base64"):
            raise InputError(f"{_short(address)}: expected data:image/...;base64,...")
        if len(data) > self.max_bytes // 3 * 4 + 4:
            raise DataError(f"{_short(address)}: more than {self.max_bytes} bytes")
        try:
            return base64.b64decode(unquote(data), validate=True)
        except (binascii.Error, ValueError) as error:
            raise DataError(f"{_short(address)}: not base64 ({error})") from error

    def _local(self, address: str, files: Path) -> bytes:
        names = parse_qs(urlsplit(address).query).get("d", [])
        if len(names) != 1:
            raise InputError(f"{_short(address)}: expected {_LOCAL}?d=PATH")
        if "\0" in names[0]:
            raise InputError(f"{_short(address)}: cannot be the name of a file")
        root = os.path.realpath(files)
        path = os.path.realpath(os.path.join(root, names[0].lstrip("/\\")))
        if os.path.commonpath([root, path]) != root:
            raise InputError(f"{_short(address)}: leads out of the folder of local files")
        try:
            if os.path.getsize(path) > self.max_bytes:
                raise DataError(f"{_short(address)}: more than {self.max_bytes} bytes")
            if not os.path.isfile(path):
                raise DataError(f"{_short(address)}: expected an image, found a folder, a pipe or a device")
            with open(path, "rb") as file:
                return file.read()
        except FileNotFoundError as error:
            raise DataError(f"{_short(address)}: no such image in the folder of local files") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"{_short(address)}: cannot be opened ({reason})") from error

    def _of_label_studio(self, address: str) -> bytes:
        return self._fetch(address, self._authorization())

    def _authorization(self) -> dict[str, str]:
        key = self.api_key
        if not key or self.url is None:
            return {}
        if key.count(".") != 2:  # a personal access token is a JSON web token: three parts
            return {"Authorization": f"Token {key}"}
        import requests

        exchange = f"{self.url.rstrip('/')}/api/token/refresh/"
        try:
            answer = requests.post(exchange, json={"refresh": key}, timeout=_TIMEOUT, allow_redirects=False)
            token = answer.json()["access"] if answer.ok else None
        except (requests.RequestException, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{exchange}: the API key could not be exchanged ({type(error).__name__})") from error
        if not isinstance(token, str):
            raise DataError(f"{exchange}: Label Studio does not take the API key (HTTP {answer.status_code})")
        return {"Authorization": f"Bearer {token}"}

    def _fetch(self, address: str, headers: dict[str, str]) -> bytes:
        """What an address answers; requests drops the key where it is led to another host."""
        import requests

        end = time.monotonic() + _TOTAL
        try:
            with requests.get(address, headers=headers, timeout=_TIMEOUT, stream=True) as answer:
                if answer.status_code in (401, 403):
                    raise DataError(f"{_short(address)}: HTTP {answer.status_code}; is LABEL_STUDIO_API_KEY right?")
                if not answer.ok:
                    raise DataError(f"{_short(address)}: HTTP {answer.status_code}")
                content = bytearray()
                for piece in answer.iter_content(_PIECE):
                    content += piece
                    if len(content) > self.max_bytes:
                        raise DataError(f"{_short(address)}: more than {self.max_bytes} bytes")
                    if time.monotonic() > end:
                        raise DataError(f"{_short(address)}: not there after {_TOTAL:.0f} s")
        except requests.RequestException as error:
            raise DataError(f"{_short(address)}: cannot be fetched ({type(error).__name__})") from error
        return bytes(content)


def _is_web(address: str) -> bool:
    return address.lower().startswith(("http://", "https://"))


def _origin(address: str) -> tuple[Any, ...]:
    try:
        parts = urlsplit(address)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme.lower())
    except ValueError as error:
        raise InputError(f"{_short(address)}: not an address ({error})") from error
    return parts.scheme.lower(), parts.hostname, port


def _short(address: str) -> str:
    """An address in messages: what is embedded, and what comes after a question mark of a signed one, left out."""
    if address.startswith("data:"):
        address = address.partition(",")[0]
    elif _is_web(address):
        address = address.partition("?")[0]
    text = printable(address)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
