"""What reading data reports: errors that stop, and issues that are collected."""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
from collections import Counter

from mrcnn.errors import MrcnnError
from mrcnn.text import printable

logger = logging.getLogger("mrcnn")


class DataError(MrcnnError, ValueError):
    """An image or an annotation cannot be used; the message names the file, the record and what was expected.

    Control characters in the message, which may come from names in a file, are escaped.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(message, keep="\n"))


@dataclasses.dataclass(frozen=True)
class DatasetIssue:
    """One problem of a data set.

    Attributes:
        kind: short name, such as "zero area box"; each reader lists its own.
        message: one sentence with the values found and what was expected.
        image_id, annotation_id: the record it belongs to; None where it belongs to none.
        path: the file it was found in.
        fatal: True where training is refused; False where the annotation was corrected or left out.
    """

    kind: str
    message: str
    image_id: int | str | None = None
    annotation_id: int | str | None = None
    path: str | None = None
    fatal: bool = False

    def __str__(self) -> str:
        where = [self.path] if self.path else []
        if self.image_id is not None:
            where.append(f"image {self.image_id}")
        if self.annotation_id is not None:
            where.append(f"annotation {self.annotation_id}")
        return printable(f"{', '.join(where) or 'data set'}: {self.message}")


def refuse(issues: list[DatasetIssue], shown: int = 5) -> None:
    """Raise if any issue is fatal, naming the first of them and the number of the rest.

    Raises:
        DataError: at least one issue is fatal.
    """
    fatal = [issue for issue in issues if issue.fatal]
    if not fatal:
        return
    lines = [str(issue) for issue in fatal[:shown]]
    if len(fatal) > shown:
        lines.append(f"and {len(fatal) - shown} more")
    raise DataError("\n".join(lines))


def warn(issues: list[DatasetIssue], source: object) -> None:
    """Log one line that counts the issues of a file by kind, fatal ones aside; nothing if there are none."""
    counts = Counter(issue.kind for issue in issues if not issue.fatal)
    if counts:
        listed = ", ".join(f"{count} x {kind}" for kind, count in counts.most_common())
        logger.warning("%s: corrected or left out %s; see Dataset.issues", printable(source), listed)


_LOGGED_PER_FOLDER = 3
_logged: dict[tuple[str, str], set[str]] = {}
_logged_lock = threading.Lock()


def log_file(kind: str, path: str, message: str) -> None:
    """Log a remark on a file: once a file, and for the first files of a folder, where a data set has thousands.

    Args:
        kind: of the remark; the files of a folder are counted by kind.
        path: of the file.
        message: without the path.
    """
    with _logged_lock:
        paths = _logged.setdefault((kind, os.path.dirname(os.path.abspath(path))), set())
        if path in paths or len(paths) >= _LOGGED_PER_FOLDER:
            return
        paths.add(path)
        last = len(paths) == _LOGGED_PER_FOLDER
    more = " (not logged for further files of this folder)" if last else ""
    logger.warning("%s: %s%s", printable(path), message, more)
