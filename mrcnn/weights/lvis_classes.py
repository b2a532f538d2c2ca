"""Names and ids of the classes of LVIS, for files that number the classes and do not name them.

The names are data, `lvis_classes.json` beside this module, which says where they are from.
"""

from __future__ import annotations

import functools
import json
from importlib import resources

NUM_CLASSES = 1203
"""Of LVIS v1."""


@functools.cache
def _names() -> dict[str, tuple[str, ...]]:
    """Names by version, in the order of the ids."""
    text = resources.files("mrcnn.weights").joinpath("lvis_classes.json").read_text(encoding="utf-8")
    return {version: tuple(names) for version, names in json.loads(text)["names"].items()}


def lvis_classes(num_classes: int) -> tuple[tuple[str, ...], tuple[int, ...]] | None:
    """Names and ids of the classes of a network trained on LVIS, or None if the number fits none of its versions.

    Args:
        num_classes: things only: 1203 as LVIS v1 has, 1230 as v0.5.

    Example:
        >>> names, ids = lvis_classes(1203)
        >>> names[0], ids[0], names[-1], ids[-1]
        ('aerosol_can', 1, 'zucchini', 1203)
        >>> lvis_classes(1230)[0][0]
        'acorn'
    """
    for names in _names().values():
        if len(names) == num_classes:
            return names, tuple(range(1, num_classes + 1))
    return None
