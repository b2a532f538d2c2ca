"""What goes wrong while a weights file is opened and read, as one kind of error."""

from __future__ import annotations

import contextlib
import os
import pickle
import stat
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

from mrcnn.errors import MrcnnError
from mrcnn.weights.report import WeightsError

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}


def regular_file(path: str | os.PathLike[str]) -> Path:
    """The path, if a regular file is there: opening or reading anything else may never end.

    Raises:
        WeightsError: there is none; the message says what is there instead.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        what = "a link to what does not exist" if path.is_symlink() else "no such file"
        raise WeightsError(f"{path}: {what}") from error
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        raise WeightsError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not stat.S_ISREG(mode):
        what = _KINDS.get(stat.S_IFMT(mode), "no regular file")
        raise WeightsError(f"{path}: {what}, expected a regular file")
    return path


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a damaged or hostile file leads to into a WeightsError that names it and quotes the cause."""
    try:
        yield
    except WeightsError:
        raise
    except (pickle.UnpicklingError, EOFError, struct.error, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise WeightsError(f"{path}: truncated or damaged ({error})") from error
    except (MemoryError, RecursionError) as error:
        raise WeightsError(f"{path}: refused, it unpacks to an unreasonable size or depth") from error
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from error
    except MrcnnError as error:
        raise WeightsError(f"{path}: damaged ({error})") from error
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise WeightsError(f"{path}: damaged ({type(error).__name__}: {str(error)[:300]})") from error
