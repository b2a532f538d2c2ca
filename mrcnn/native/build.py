"""Building the ops: sources -> a stamped library in the user's cache.

Imports TensorFlow only where it must, and nothing else outside the standard library, so that setup.py can use it.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from mrcnn.files import atomic_write
from mrcnn.native import toolchain
from mrcnn.native.sources import CUDA_SOURCES, SOURCES, BuildError, cache_dir, current_identity, expected_source_dir
from mrcnn.native.stamp import Identity, Stamp, append_stamp, read_stamp
from mrcnn.native.toolchain import run_tool
from mrcnn.native.trust import why_not_trusted

Log = Callable[[str], None]

_SELF_CHECK = """
import os, sys
os.environ["CUDA_VISIBLE_DEVICES"] = ""
import tensorflow as tf
ops = tf.load_op_library(sys.argv[1])
features = tf.reshape(tf.range(12.0), [1, 3, 4, 1])
pooled = ops.mrcnn_roi_align(features=features, boxes=[[0.5, 1.0, 2.5, 3.0]], box_index=[0], crop_height=1,
                             crop_width=2, spatial_scale=1.0, sampling_ratio=1, aligned=True)
assert pooled.numpy().ravel().tolist() == [5.0, 6.0], pooled.numpy().ravel().tolist()
columns = ops.mrcnn_deformable_columns(features=features, offsets=tf.fill([1, 3, 4, 2], 0.5), mask=tf.zeros([0] * 4),
                                       kernel_height=1, kernel_width=1)
assert columns.numpy().ravel().tolist()[:5] == [2.5, 3.5, 4.5, 2.5, 6.5], columns.numpy().ravel().tolist()
turned = ops.mrcnn_rotated_roi_align(features=features, boxes=[[1.5, 2.0, 1.0, 2.0, 0.0]], box_index=[0],
                                     crop_height=1, crop_width=2, stride=1.0, sampling_ratio=1)
assert turned.numpy().ravel().tolist() == [5.0, 6.0], turned.numpy().ravel().tolist()
"""


def build(cuda: bool | None = None, log: Log = print) -> Path:
    """Compiles the ops for the TensorFlow of this Python and puts the library into the cache, at the end, in one step.

    Args:
        cuda: with CUDA kernels or without; None: $MRCNN_CUDA (0 or 1), else with them where TensorFlow was built with
            CUDA and there is an nvcc.
        log: called with each line about the progress.

    Returns:
        The library.

    Raises:
        BuildError: no compiler, a compiler that fails (with its last lines), a cache that cannot be written.
    """
    identity = current_identity()
    tools = _choose_tools(cuda, log)
    target = cache_dir() / identity.filename
    _make_folder(target.parent)
    _check_writable(target.parent)
    stamp = _stamp_of(tools, identity)
    with tempfile.TemporaryDirectory(prefix="mrcnn_ops_") as temporary:
        objects = _compile(tools, Path(temporary), log)
        _link(tools, objects, target, stamp, log)
    return target


@dataclasses.dataclass(frozen=True)
class _Tools:
    """What compiles; without nvcc no CUDA kernels."""

    compiler: str
    nvcc: str | None
    cuda_architectures: tuple[str, ...]


def _choose_tools(cuda: bool | None, log: Log) -> _Tools:
    """The compilers for `build`'s argument and this TensorFlow.

    Raises:
        BuildError: one that is needed is not there, or nvcc does not know an architecture that is asked for.
    """
    import tensorflow as tf

    compiler = toolchain.find_compiler()
    if compiler is None:
        raise BuildError("no C++ compiler: install g++ or clang++, or name one in CXX")
    if cuda is None and os.environ.get("MRCNN_CUDA") in ("0", "1"):
        cuda = os.environ["MRCNN_CUDA"] == "1"
    nvcc = None if cuda is False else toolchain.find_nvcc()
    if cuda and nvcc is None:
        raise BuildError("no nvcc: install CUDA's compiler, or name it in NVCC, or build without CUDA (MRCNN_CUDA=0)")
    if cuda is None and nvcc and not tf.test.is_built_with_cuda():
        log("this TensorFlow is built without CUDA, so the ops are too")
        nvcc = None
    return _Tools(compiler, nvcc, tuple(toolchain.choose_architectures(nvcc)) if nvcc else ())


def _compile(tools: _Tools, folder: Path, log: Log) -> list[str]:
    """An object file in `folder` for each source.

    Raises:
        BuildError: a compiler fails.
    """
    import tensorflow as tf

    sources, compiler = expected_source_dir(), tools.compiler
    # TensorFlow's headers are the system's, so that their warnings are not ours.
    given = tf.sysconfig.get_compile_flags()
    tensorflow_flags = [f"-isystem{flag[2:]}" if flag.startswith("-I") else flag for flag in given]
    with_cuda = ["-DMRCNN_WITH_CUDA"] if tools.nvcc else []
    objects = []
    for source in SOURCES:
        name = Path(source).name
        log(f"{Path(compiler).name} {name}")
        objects.append(str(folder / f"{name}.o"))
        flags = [*toolchain.cxx_flags(name), *with_cuda, *tensorflow_flags]
        run_tool([compiler, *flags, "-c", str(sources / source), "-o", objects[-1]], f"compiling {name}")
    for source in CUDA_SOURCES if tools.nvcc else ():
        name = Path(source).name
        log(f"nvcc {name} for {', '.join(f'sm_{arch}' for arch in tools.cuda_architectures)}")
        objects.append(str(folder / f"{name}.o"))
        flags = ["-ccbin", compiler, *toolchain.cuda_flags(tools.cuda_architectures)]
        command = [str(tools.nvcc), *flags, "-c", str(sources / source), "-o", objects[-1]]
        run_tool(command, f"compiling {name}")
    return objects


def _link(tools: _Tools, objects: list[str], target: Path, stamp: Stamp, log: Log) -> None:
    """Link, try and stamp the library; it appears whole or not at all.

    Raises:
        BuildError: the linker fails, the library does not work, or its place cannot be written.
    """
    import tensorflow as tf

    flags = list(tf.sysconfig.get_link_flags())
    if tools.nvcc:
        # The static runtime: the library loads where no CUDA is installed, and meets no other version's symbols.
        flags += [toolchain.cuda_runtime(tools.nvcc), "-Wl,--exclude-libs,ALL", "-ldl", "-lrt", "-lpthread"]
    try:
        with atomic_write(target) as library:
            run_tool([tools.compiler, "-shared", "-o", str(library), *objects, *flags], "linking")
            # Loading it can crash Python: another Python tries it first.
            log("trying the library")
            run_tool([sys.executable, "-c", _SELF_CHECK, str(library)], "the first use of the library")
            append_stamp(library, stamp)
            library.chmod(library.stat().st_mode & ~0o022)  # else it would not be loaded, whatever the umask
    except OSError as error:
        raise BuildError(f"{target} cannot be written ({error.strerror})") from None


def _stamp_of(tools: _Tools, identity: Identity) -> Stamp:
    version = run_tool([tools.compiler, "--version"], "asking the compiler for its version").splitlines()[0]
    if not tools.nvcc:
        return Stamp(identity, "", (), version)
    said = run_tool([tools.nvcc, "--version"], "asking nvcc for its version")
    cuda_version = said.split("release ")[-1].split(",")[0]
    return Stamp(identity, cuda_version, tools.cuda_architectures, version)


def _check_writable(folder: Path) -> None:
    """Write a file and remove it, before minutes of compiling.

    Raises:
        BuildError: it cannot be written.
    """
    file = folder / "mrcnn_ops.probe"
    try:
        with atomic_write(file) as probe:
            probe.touch()
        file.unlink(missing_ok=True)
    except OSError as error:
        raise BuildError(
            f"{folder} cannot be written ({error.strerror}); MRCNN_CACHE_DIR names another folder"
        ) from None


def _make_folder(folder: Path) -> None:
    """Makes a folder that libraries may be loaded from: others cannot write to it, whatever the umask.

    Raises:
        BuildError: others could exchange what lies in it, or it cannot be made.
    """
    try:
        for missing in reversed([part for part in (folder, *folder.parents) if not part.exists()]):
            missing.mkdir(mode=0o755, exist_ok=True)
    except OSError as error:
        raise BuildError(
            f"{folder} cannot be written ({error.strerror}); MRCNN_CACHE_DIR names another folder"
        ) from None
    if (reason := why_not_trusted(folder)) is not None:
        raise BuildError(f"{reason}; or name another folder in MRCNN_CACHE_DIR")


def build_ops(cuda: bool | None = None) -> int:
    """`mrcnn build-ops`: builds, reports the progress, and returns the exit code: 0, or 1 after a message on stderr."""
    try:
        library = build(cuda)
    except BuildError as error:
        print(f"mrcnn: the ops were not built: {error}", file=sys.stderr)
        return 1
    stamp = read_stamp(library)
    kernels = f"CPU and CUDA {stamp.cuda} kernels" if stamp.cuda else "CPU kernels"
    print(f"{library}: {kernels} for TensorFlow {stamp.identity.tensorflow}")
    return 0


if __name__ == "__main__":
    sys.exit(build_ops())
