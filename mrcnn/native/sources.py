"""The sources of the RoIAlign op, and the library that fits them and the TensorFlow of this process.

    <cache>/roi_align-tf2.21.0-abi1-x86_64-<digest of the sources>.so
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

SOURCES = ("ops.cc", "cpu_kernels.cc", "taps.cc")
CUDA_SOURCE = "cuda_kernels.cu"


class BuildError(MrcnnError, RuntimeError):
    """The op cannot be built; the message says why and what to do."""


def source_dir() -> Path | None:
    """The folder of the C++ sources: beside the package in a checkout, inside it when installed. None: not there."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package.parent / "custom_ops" / "roi_align", package / "custom_ops" / "roi_align"):
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
        raise BuildError("the sources of the op (custom_ops/roi_align) are not part of this installation")
    return folder


def source_digest(folder: Path) -> str:
    """Hexadecimal digest of the names and contents of all sources in `folder`, tests aside."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".h", ".cc", ".cu"):
            content = path.read_bytes()
            digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


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
