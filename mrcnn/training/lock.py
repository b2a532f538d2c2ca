"""One training per folder: a lock file that says who holds it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mrcnn.errors import MrcnnError
from mrcnn.files import atomic_write

logger = logging.getLogger("mrcnn")

FILE = "train.lock"


class RunLockedError(MrcnnError, RuntimeError):
    """Another training writes to the folder; the message names its process, machine and lock file."""


@contextlib.contextmanager
def lock_run(folder: Path) -> Iterator[None]:
    """Hold a run's folder while the body trains.

    The lock is a JSON file with the process id, the host and the time of the start. A lock whose process is gone from
    this machine, as after `kill -9`, is taken over, which is logged. Of a process on another machine nothing is known,
    so its lock stands until it is removed.

    Args:
        folder: made if it is absent.

    Raises:
        RunLockedError: another training holds it.
    """
    path = folder / FILE
    folder.mkdir(parents=True, exist_ok=True)
    ours = _owner()
    with _one_at_a_time(folder):
        theirs = _read(path)
        if theirs is not None:
            if _may_run(theirs):
                raise RunLockedError(_refusal(path, theirs))
            logger.warning(
                "%s: its process %s is gone; the lock is taken over", path, theirs.get("pid", "(none recorded)")
            )
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(ours), encoding="utf-8")
    try:
        yield
    finally:
        with _one_at_a_time(folder):
            if _read(path) == ours:  # else somebody removed it, and another training holds the folder by now
                path.unlink(missing_ok=True)


def _owner() -> dict[str, Any]:
    pid = os.getpid()
    return {
        "pid": pid,
        "host": socket.gethostname(),
        "process_start": _process_start(pid),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "nonce": os.urandom(8).hex(),
    }


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Between looking at a lock and writing it no other process of this machine does the same."""
    try:
        import fcntl  # not on Windows
    except ImportError:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a network file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)  # releases it


def _read(path: Path) -> dict[str, Any] | None:
    """Who holds the lock; None: nobody. A damaged lock names nobody, and so is taken over."""
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return owner if isinstance(owner, dict) else {}


def _may_run(owner: dict[str, Any]) -> bool:
    """Whether the process that wrote a lock may still be running."""
    pid = owner.get("pid")
    if not isinstance(pid, int) or pid <= 0:
        return False
    if owner.get("host") != socket.gethostname() or sys.platform == "win32":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        pass
    start = _process_start(pid)
    # A number of a dead process is given to another one; a container's first process is always number 1.
    return start is None or (start != "" and owner.get("process_start") in (None, start))


def _process_start(pid: int) -> str | None:
    """When a process was started, in the kernel's count since a boot that is named; "" for one that is dead already.

    None: this system does not say.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    return "" if fields[0] in "ZX" else f"{boot} {fields[19]}"


def _refusal(path: Path, owner: dict[str, Any]) -> str:
    return (
        f"{path.parent}: a training writes to this folder already: process {owner['pid']} on {owner.get('host')}, "
        f"since {owner.get('time')}; train into another folder, or, if that process is gone, remove {path}"
    )
