"""Writing files so that readers, and a run cut short, never see half of one."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from mrcnn.errors import FileError

_TEMPORARY = re.compile(r"\..+\.(\d+)\.[0-9a-f]{8}\.part(\..*)?")  # see `_temporary_name`
_cleaned: set[Path] = set()  # folders in which this process has looked for what dead ones left


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name to write to; on leaving without an error the file gets its real name, else it vanishes.

    The file has the permissions of an ordinary new file, as the umask says, whatever its writer gives it. Temporary
    files that killed processes left in the folder are removed, once per process and folder.

    Args:
        path: the file wanted. Its folder is created; a file of that name is replaced, at the end, in one step.

    Yields:
        A free name in the same folder, with the same suffix (writers choose the format by it).

    Raises:
        FileError: the file cannot be written; names it.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_write(Path(folder, "numbers.csv")) as temporary:
        ...         _ = temporary.write_text("1,2")
        ...     Path(folder, "numbers.csv").read_text()
        '1,2'
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _named(error, path) from error
    folder = path.parent.resolve()
    if folder not in _cleaned:
        _cleaned.add(folder)
        remove_leftovers(folder)
    temporary = _temporary_name(path)
    try:
        mode = _new_file_mode(temporary)
        yield temporary
        if temporary.is_file():
            is_program = temporary.stat().st_mode & stat.S_IXUSR
            temporary.chmod(mode | (mode & 0o444) >> 2 if is_program else mode)
        os.replace(temporary, path)
    except OSError as error:
        raise _named(error, path) from error
    finally:
        temporary.unlink(missing_ok=True)


def _named(error: OSError, path: Path) -> FileError:
    """The error with the name of the file wanted, in the system's words or the writer's own."""
    if error.errno is None:
        return FileError(f"{path}: {error}")
    of_another = error.filename is not None and Path(os.fsdecode(error.filename)).parent != path.parent
    return FileError(error.errno, error.strerror or str(error), str(error.filename if of_another else path))


def remove_leftovers(folder: str | os.PathLike[str]) -> list[Path]:
    """Remove the temporary files of `atomic_write` whose process has ended without removing them.

    Args:
        folder: looked through itself, not its subfolders; need not exist.

    Returns:
        What was removed. Files of processes that are alive stay, as does what cannot be removed.
    """
    removed: list[Path] = []
    try:
        entries = list(Path(folder).iterdir())
    except OSError:  # no such folder, or one that must not be listed: writing to it says what is wrong
        return removed
    for entry in entries:
        match = _TEMPORARY.fullmatch(entry.name)
        if match and not _is_alive(int(match[1])):
            with contextlib.suppress(OSError):  # another user's, or gone already
                if stat.S_ISREG(entry.lstat().st_mode):
                    entry.unlink()
                    removed.append(entry)
    return removed


def _temporary_name(path: Path) -> Path:
    return path.with_name(f".{path.stem[:40]}.{os.getpid()}.{secrets.token_hex(4)}.part{path.suffix}")


def _new_file_mode(free_name: Path) -> int:
    """The permissions of a new file in this folder: those of one that is made, looked at and removed.

    The umask itself can be read only by changing it, for all threads.
    """
    descriptor = os.open(free_name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)
        os.unlink(free_name)


def _is_alive(pid: int) -> bool:
    """True if a process of this number runs, or if that cannot be determined."""
    if os.name != "posix" or pid > 1 << 30:
        return os.name != "posix"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it belongs to somebody else
        return True
    return True
