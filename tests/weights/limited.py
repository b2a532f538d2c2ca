"""Hostile files read in a child process whose memory is limited: a failure ends the child, not the tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_CHILD = """
import json, resource, sys, time
from mrcnn.weights import checkpoint, pretrained
{prepare}
margin, paths = json.loads(sys.argv[1])
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + margin, resource.getrlimit(resource.RLIMIT_AS)[1]))
for name, path in paths.items():
    start = time.monotonic()
    try:
        result = {function}(path)
        error = None
    except BaseException as caught:
        error = [type(caught).__name__, str(caught)]
    print("RESULT " + json.dumps([name, error, time.monotonic() - start]), flush=True)
"""


def read_in_child(
    paths: Mapping[str, Path],
    function: str = "pretrained.describe_weights",
    prepare: str = "",
    megabytes: int = 700,
    timeout: float = 300.0,
) -> dict[str, tuple[list[str] | None, float]]:
    """Call a function on each file, in one child.

    Args:
        paths: files by any name.
        function: an expression in which `pretrained` and `checkpoint` are those modules of `mrcnn.weights`.
        prepare: further lines, run before.
        megabytes: that all of it may add to what the child has after its imports.
        timeout: seconds for all files.

    Returns:
        By name: ([type of the error, its message] or None, seconds). A file at which the child died is absent, as are
        those after it.
    """
    arguments = json.dumps([megabytes << 20, {name: str(path) for name, path in paths.items()}])
    script = _CHILD.format(function=function, prepare=prepare)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    child = subprocess.run(
        [sys.executable, "-c", script, arguments], env=env, capture_output=True, text=True, timeout=timeout, check=False
    )
    results: dict[str, tuple[Any, float]] = {}
    for line in child.stdout.splitlines():
        if line.startswith("RESULT "):
            name, error, seconds = json.loads(line.removeprefix("RESULT "))
            results[name] = (error, seconds)
    assert len(results) == len(paths), (
        f"died with {child.returncode} after {list(results)[-1:]}: {child.stderr[-2000:]}"
    )
    return results
