"""Every error of reading a file is one kind, names the file and quotes its cause."""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path

import pytest

from mrcnn.base_config import ConfigError
from mrcnn.weights.reading import reading, regular_file
from mrcnn.weights.report import WeightsError

PATH = Path("w.pth")


@pytest.mark.parametrize(
    "cause, message",
    [
        (EOFError("ends early"), r"w\.pth: truncated or damaged \(ends early\)"),
        (pickle.UnpicklingError("odd"), r"w\.pth: truncated or damaged \(odd\)"),
        (struct.error("short"), r"w\.pth: truncated or damaged \(short\)"),
        (zipfile.BadZipFile("no zip"), r"w\.pth: truncated or damaged \(no zip\)"),
        (ValueError("bad"), r"w\.pth: damaged \(ValueError: bad\)"),
        (KeyError("k"), r"w\.pth: damaged \(KeyError: 'k'\)"),
        (RuntimeError("h5"), r"w\.pth: damaged \(RuntimeError: h5\)"),
        (ConfigError("neck.channels: expected int"), r"w\.pth: damaged \(neck\.channels: expected int\)"),
        (MemoryError(), r"w\.pth: refused, it unpacks to an unreasonable size"),
        (RecursionError(), r"w\.pth: refused, it unpacks to an unreasonable size or depth"),
        (OSError(5, "Input/output error"), r"w\.pth: cannot be read \(Input/output error\)"),
    ],
)
def test_the_cause_is_quoted(cause: Exception, message: str) -> None:
    with pytest.raises(WeightsError, match=message) as caught, reading(PATH):
        raise cause
    assert caught.value.__cause__ is cause


def test_our_own_error_stays_what_it_is() -> None:
    error = WeightsError("w.pth: of another network")
    with pytest.raises(WeightsError) as caught, reading(PATH):
        raise error
    assert caught.value is error


def test_regular_files(tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_bytes(b"")
    link = tmp_path / "link"
    link.symlink_to(path)
    assert (regular_file(path), regular_file(str(link))) == (path, link)


def test_what_is_no_regular_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken").symlink_to(tmp_path / "absent")
    for name, what in {
        "absent": "no such file",
        "broken": "a link to what does not exist",
        "broken/below": "no such file",
        ".": "a folder, expected a regular file",
        "/dev/null": "a character device, expected a regular file",
    }.items():
        with pytest.raises(WeightsError, match=what):
            regular_file(tmp_path / name)
