"""What the data component reports: errors that stop, and issues that were found."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter

from mrcnn.errors import MrcnnError

logger = logging.getLogger("mrcnn")


class DataError(MrcnnError, ValueError):
    """An image or an annotation cannot be used; the message names the file, the record and what was expected."""


@dataclasses.dataclass(frozen=True)
class DatasetIssue:
    """One thing wrong with a data set.

    Attributes:
        kind: short name, e.g. "zero area box"; see `mrcnn.data.formats.coco` for the list.
        message: one sentence with the values found and what was expected.
        image_id, annotation_id: the record it belongs to, None where it belongs to none.
        path: the file it was found in.
        fatal: True where training would be refused; False where the annotation was mended or left out.
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
        return f"{', '.join(where) or 'data set'}: {self.message}"


def refuse(issues: list[DatasetIssue], shown: int = 5) -> None:
    """Raises DataError naming the first fatal issues and the number of the rest; returns if there are none.

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
    """One line in the log on what was mended or left out of `source`, by kind; none where nothing was."""
    counts = Counter(issue.kind for issue in issues if not issue.fatal)
    if counts:
        said = ", ".join(f"{count} x {kind}" for kind, count in counts.most_common())
        logger.warning("%s: mended or left out %s; see Dataset.issues", source, said)
