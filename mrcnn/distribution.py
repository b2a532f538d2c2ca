"""Which installed distribution this package is: `mrcnn-keras`, and not the unrelated one that is called `mrcnn`.

The package index has a distribution `mrcnn` of 2018, for TensorFlow 1, which installs a package of the same name. Where
both are installed their files are mixed in one folder, and which `config.py` or `utils.py` a program gets depends on
which was installed last.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

NAME = "mrcnn-keras"
"""Under which this package is installed: `pip install mrcnn-keras`. It is imported as `mrcnn`."""

_OURS = "mrcnn.cli:main"  # the entry point of the `mrcnn` command, also where we were installed as "mrcnn"
_SUFFIXES = (".dist-info", ".egg-info", ".egg")


def other_distribution(folders: list[str] | None = None) -> Path | None:
    """The metadata of a distribution called `mrcnn` that is not this package; None if there is none.

    Args:
        folders: to look in; None: `sys.path`.

    Our own name is `mrcnn-keras`, in metadata `mrcnn_keras`; an editable installation of an earlier version is called
    `mrcnn` too, and is known by its command.

    Example:
        >>> other_distribution([]) is None
        True
    """
    for folder in sys.path if folders is None else folders:
        try:
            names = os.listdir(folder or ".")
        except OSError:  # a zip file, or a folder that is not there
            continue
        for name in names:
            if name.lower().startswith(("mrcnn-", "mrcnn.")) and name.lower().endswith(_SUFFIXES):
                path = Path(folder or ".") / name
                if not _is_ours(path):
                    return path
    return None


def explain(path: Path) -> str:
    """What to do about it, in one sentence."""
    return (
        f"{path}: the distribution 'mrcnn' is another project, of 2018, whose files are mixed with those of this"
        f" package; run: pip uninstall mrcnn && pip install --force-reinstall {NAME}"
    )


def warn_of_other() -> None:
    """Warn, once, if the other distribution is installed."""
    path = other_distribution()
    if path is not None:
        warnings.warn(explain(path), RuntimeWarning, stacklevel=3)


def _is_ours(path: Path) -> bool:
    """Whether metadata declare our command; true as well for what cannot be read, which is no proof of another one."""
    for part in ("entry_points.txt", "EGG-INFO/entry_points.txt"):
        try:
            return _OURS in (path / part).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            continue
        except OSError:
            return True
    return False
