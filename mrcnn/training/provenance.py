"""Where a run comes from: versions, command, seed, machine, and the git revision of the user's code."""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mrcnn._version import __version__
from mrcnn.errors import InputError
from mrcnn.files import atomic_write
from mrcnn.training.checkpoints import set_aside

logger = logging.getLogger("mrcnn")

FILE = "run.json"


def read_starts(folder: Path) -> list[dict[str, Any]]:
    """The starts of a run, the first one first; none where the folder has no run.json.

    A file that was cut off or damaged, so that it is not JSON, is set aside with a warning: a run must not be lost for
    what only documents it.

    Raises:
        InputError: the file holds something else; names the file and the entry.
    """
    path = folder / FILE
    advice = "move the file away, it only documents the run"
    try:
        starts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (ValueError, RecursionError) as error:
        logger.warning("%s: not JSON (%s); it is set aside as %s", path, error, set_aside(path).name)
        return []
    if not isinstance(starts, list):
        raise InputError(f"{path}: expected a list with one entry for each start, got {_json_name(starts)}; {advice}")
    for number, entry in enumerate(starts):
        if not isinstance(entry, dict):
            raise InputError(f"{path}: entry {number}: expected an object, got {_json_name(entry)}; {advice}")
    return starts


def _json_name(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def record_start(folder: Path, facts: Mapping[str, Any]) -> None:
    """Add an entry to the run's list of starts; there is one more each time a run is resumed.

    Args:
        folder: of the run.
        facts: plain data to keep with it: seed, devices, ...

    Raises:
        InputError: see `read_starts`.
    """
    starts = read_starts(folder)
    starts.append(
        {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "command": sys.argv,
            "folder": str(Path.cwd()),
            "versions": {
                "mrcnn": __version__,
                "python": platform.python_version(),
                "tensorflow": tf.__version__,
                "keras": keras.__version__,
                "numpy": np.__version__,
            },
            "machine": {
                "system": platform.platform(),
                "gpus": [d.name for d in tf.config.list_physical_devices("GPU")],
            },
            "git": git_revision(Path.cwd()),
            **facts,
        }
    )
    with atomic_write(folder / FILE) as temporary:
        temporary.write_text(json.dumps(starts, indent=2), encoding="utf-8")


def git_revision(folder: Path) -> dict[str, Any] | None:
    """Revision of the repository around a folder, and whether files differ from it; None where there is none.

    A repository may be anybody's, and its config can name programs: none of them is run.
    """
    pattern = r"^filter\..*\.(clean|smudge|process)$"
    try:
        filters = _git(folder, "config", "--name-only", "--get-regexp", pattern, may_fail=True).splitlines()
        required = dict.fromkeys(f"{key.rpartition('.')[0]}.required=false" for key in filters)
        without = [word for item in (*(f"{key}=" for key in filters), *required) for word in ("-c", item)]
        revision = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, *without, "status", "--porcelain", "-uno", "--ignore-submodules=all")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"revision": revision, "changed": bool(changed)}


def _git(folder: Path, *words: str, may_fail: bool = False) -> str:
    """What git writes; it runs neither hooks nor a file system monitor, and leaves the index as it is."""
    done = subprocess.run(
        ["git", "-c", "core.fsmonitor=", "-c", f"core.hooksPath={os.devnull}", "--no-optional-locks", *words],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=10,
        check=not may_fail,
    )
    return done.stdout.strip()
