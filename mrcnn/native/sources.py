"""The sources of the ops, and the library that fits them and the TensorFlow of this process.

    <cache>/mrcnn_ops-tf2.21.0-abi1-x86_64-<digest of the sources>.so
    cache: $MRCNN_CACHE_DIR, else $XDG_CACHE_HOME/mrcnn/ops, else ~/.cache/mrcnn/ops

The name says what the library was built for, so that environments with different TensorFlows share the cache.
"""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

from mrcnn.errors import MrcnnError
from mrcnn.native.stamp import Identity

SOURCES = (
    "roi_align/ops.cc",
    "roi_align/cpu_kernels.cc",
    "roi_align/taps.cc",
    "deformable_conv/deformable_ops.cc",
    "deformable_conv/deformable_cpu.cc",
    "rotated_roi_align/rotated_ops.cc",
    "rotated_roi_align/rotated_cpu.cc",
)
CUDA_SOURCES = (
    "roi_align/cuda_kernels.cu",
    "deformable_conv/deformable_cuda.cu",
    "rotated_roi_align/rotated_cuda.cu",
)
"""What becomes one library, in `source_dir`; no two have the same name."""


class BuildError(MrcnnError, RuntimeError):
    """The op cannot be built; the message says why and what to do."""


def source_dir() -> Path | None:
    """The folder of all C++ sources: beside the package in a checkout, inside it when installed. None: not there."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package.parent / "custom_ops", package / "custom_ops"):
        if (folder / SOURCES[0]).is_file():
            return folder
    return None


def expected_source_dir() -> Path:
    """`source_dir`.

    Raises:
        BuildError: the sources are not there.
    """
    folder = source_dir()
    if folder is None:
        raise BuildError("the sources of the ops (custom_ops) are not part of this installation")
    return folder


def source_digest(folder: Path) -> str:
    """Hexadecimal digest of the names and contents of all sources in `folder`, tests aside."""
    digest = hashlib.sha256()
    for name in sorted(source_names(folder)):
        content = (folder / name).read_bytes()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def source_names(folder: Path) -> list[str]:
    """All that the library is compiled from in `folder`, headers too, tests aside, as "subfolder/file"."""
    paths = [path.relative_to(folder) for path in folder.glob("*/*") if path.suffix in (".h", ".cc", ".cu")]
    return [path.as_posix() for path in paths if path.stem != "unit_test"]


def cache_dir() -> Path:
    """Where libraries lie; need not exist."""
    if folder := os.environ.get("MRCNN_CACHE_DIR"):
        return Path(folder).expanduser() / "ops"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mrcnn" / "ops"


def current_identity() -> Identity:
    """What fits the TensorFlow of this process and the sources of this package.

    Raises:
        BuildError: the sources are not there.
    """
    import tensorflow as tf

    digest = source_digest(expected_source_dir())
    return Identity(tf.__version__, int(tf.sysconfig.CXX11_ABI_FLAG), platform.machine(), digest)


def library_path() -> Path:
    """Where the library for this process lies once it is built."""
    return cache_dir() / current_identity().filename
