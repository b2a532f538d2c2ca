"""Text from files made safe to print, to draw and to name files with."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

# Control characters, line separators, bidirectional overrides and lone surrogates: what drives a terminal, breaks a
# line, reorders it or cannot be encoded. Joiners (U+200C, U+200D) stay: names in Persian and Hindi need them.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_NOT_IN_FILE_NAMES = re.compile(r"[^\w.-]")
_DIGEST = 8


def printable(text: object, keep: str = "") -> str:
    r"""One line of text that cannot drive a terminal: control characters and line breaks are escaped.

    Args:
        text: anything; `str` of it is taken.
        keep: characters left as they are, such as "\n".

    Example:
        >>> printable("cat\nESC[2J")
        'cat\\nESC[2J'
    """
    return _UNSAFE.sub(
        lambda match: match[0] if match[0] in keep else match[0].encode("unicode_escape").decode("ascii"), str(text)
    )


def file_stem(text: object, max_bytes: int = 100) -> str:
    """A file name without suffix made of any text: other characters become "_", a long name ends in a digest.

    Args:
        text: anything; `str` of it is taken.
        max_bytes: longest result in UTF-8; file systems take 255 bytes, suffixes and temporary names included.

    Example:
        >>> file_stem("images/a b.jpg")
        'images_a_b.jpg'
    """
    text = str(text)
    stem = _NOT_IN_FILE_NAMES.sub("_", _UNSAFE.sub("_", text)).lstrip(".") or "_"
    encoded = stem.encode()
    if len(encoded) <= max_bytes:
        return stem
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
    return f"{encoded[: max_bytes - _DIGEST - 1].decode(errors='ignore')}_{digest}"


def shown_path(path: str | os.PathLike[str]) -> str:
    """A path as pages name it: from the working folder on if it lies below, so that no machine's folders travel along.

    Args:
        path: anything else, such as hf://user/name, stays as it is.

    Example:
        >>> shown_path(Path.cwd() / "data" / "train.json"), shown_path("/elsewhere/train.json")
        ('data/train.json', '/elsewhere/train.json')
    """
    path, here = os.fspath(path), Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path
