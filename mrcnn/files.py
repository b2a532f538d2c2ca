"""Writing files so that readers, and a run cut short, never see half of one."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name to write to; on leaving without an error the file gets its real name, else it vanishes.

    Args:
        path: the file wanted. Its folder is created; a file of that name is replaced, at the end, in one step.

    Yields:
        A free name in the same folder, with the same suffix (writers choose the format by it).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem[:40]}.{os.getpid()}.{secrets.token_hex(4)}.part{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is None:  # a writer's own words: `filename` would hide them
            raise OSError(f"{path}: {error}") from error
        if error.filename is None:  # a disk that filled up while the file was written
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)
