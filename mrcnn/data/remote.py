"""Files that TensorFlow opens by a scheme: `gs://bucket/a.jpg`, `s3://...`, whatever file systems it has been given.

`s3://` and others come with the package tensorflow-io once that is imported; `ram://` is TensorFlow's own, in memory.
"""

from __future__ import annotations

import io
import os
import re
from typing import Any, BinaryIO

from mrcnn.data.errors import DataError

# Two letters at least: C:/ is a drive. One slash is enough, for pathlib leaves one of two.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.+)", re.DOTALL)
_NOT_FILES = ("file", "http", "https")


def remote_path(path: str | os.PathLike[str]) -> str | None:
    """The path with its scheme and two slashes, if TensorFlow has a file system for the scheme; else None.

    Example:
        >>> remote_path("ram://set/a.png"), remote_path("C:/set/a.png"), remote_path("https://host/a.png")
        ('ram://set/a.png', None, None)
    """
    match = _SCHEME.fullmatch(os.fspath(path))
    if match is None or match[1].lower() in _NOT_FILES:
        return None
    schemes = _gfile().get_registered_schemes()
    known = {s.decode() if isinstance(s, bytes) else str(s) for s in schemes}
    return f"{match[1]}://{match[2]}" if match[1] in known else None


def open_remote(path: str) -> BinaryIO:
    """A file that may hold an image, whole and open for reading.

    Args:
        path: as `remote_path` gives it.

    Raises:
        DataError: it is missing, empty or a folder, or its file system refuses it.
    """
    import tensorflow as tf

    gfile = _gfile()
    try:
        if gfile.isdir(path):
            raise DataError(f"{path}: expected an image, found a folder")
        with gfile.GFile(path, "rb") as file:
            content = file.read()
    except tf.errors.NotFoundError as error:
        raise DataError(f"{path}: no such image") from error
    except tf.errors.OpError as error:
        raise DataError(f"{path}: cannot be opened ({error.message})") from error
    if not content:
        raise DataError(f"{path}: expected an image, the file is empty")
    return io.BytesIO(content)


class RemoteFolder:
    """The files of a folder and of those in it; each folder is listed once.

    Args:
        path: as `remote_path` gives it.

    Raises:
        DataError: there is no such folder, or its file system refuses it.
    """

    def __init__(self, path: str) -> None:
        self.path = path.rstrip("/")
        self._listings: dict[str, set[str]] = {}
        self._refused: dict[str, str] = {}
        import tensorflow as tf

        try:
            if _gfile().isdir(self.path):
                return
            _gfile().stat(self.path)  # `isdir` answers no to every error, this says which
        except tf.errors.NotFoundError:
            pass
        except tf.errors.OpError as error:
            raise DataError(f"{path}: cannot be opened ({error.message})") from error
        raise DataError(f"{path}: no such folder of images")

    def find(self, name: str) -> str | None:
        """The path of a file, by its name with "/" between folders; None: it is not there.

        Raises:
            DataError: the file system refuses to list its folder.
        """
        folder, _, base = f"{self.path}/{name.lstrip('/')}".rpartition("/")
        if folder not in self._listings:
            import tensorflow as tf

            try:
                self._listings[folder] = {entry.rstrip("/") for entry in _gfile().listdir(folder)}
            except tf.errors.NotFoundError:
                self._listings[folder] = set()
            except tf.errors.OpError as error:
                self._refused[folder] = f"{folder}: cannot be listed ({error.message})"
                self._listings[folder] = set()
        if folder in self._refused:
            raise DataError(self._refused[folder])
        return f"{folder}/{base}" if base in self._listings[folder] else None


def exists(path: str) -> bool:
    """Whether there is a file or folder, see `remote_path`.

    Raises:
        DataError: its file system refuses to say.
    """
    import tensorflow as tf

    try:
        return bool(_gfile().exists(path))
    except tf.errors.OpError as error:
        raise DataError(f"{path}: cannot be opened ({error.message})") from error


def _gfile() -> Any:
    import tensorflow as tf

    return tf.io.gfile
