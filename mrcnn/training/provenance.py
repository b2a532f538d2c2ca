"""Where a run comes from: versions, command, seed, machine, and the git revision of the user's code."""

from __future__ import annotations

import json
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
from mrcnn.files import atomic_write

FILE = "run.json"


def record_start(folder: Path, facts: Mapping[str, Any]) -> None:
    """Add an entry to the run's list of starts; there is one more each time a run is gone on with.

    Args:
        folder: of the run.
        facts: plain data to keep with it: seed, devices, ...
    """
    path, starts = folder / FILE, []
    if path.is_file():
        try:
            starts = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            starts = []
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
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(starts, indent=2), encoding="utf-8")


def git_revision(folder: Path) -> dict[str, Any] | None:
    """Revision of the repository around a folder, and whether files differ from it; None where there is none."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        return {"revision": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None
