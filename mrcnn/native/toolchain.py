"""The compilers that build the ops: where they are, what they are asked, how they are run."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from mrcnn.native.sources import BuildError

CUDA_ARCHITECTURES = ("70", "75", "80", "86", "89", "90")
"""What is compiled for by default: those of them that nvcc knows, and PTX of the last for later devices."""

_MAX_LINES = 15


def find_compiler() -> str | None:
    """The C++ compiler: $CXX, or the first of g++, clang++ and c++ on the path."""
    for name in (os.environ.get("CXX"), "g++", "clang++", "c++"):
        if name and (path := shutil.which(name)):
            return path
    return None


def find_nvcc() -> str | None:
    """nvcc: $NVCC, $CUDA_HOME/bin/nvcc, on the path, or in /usr/local/cuda."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    for name in (os.environ.get("NVCC"), home and f"{home}/bin/nvcc", "nvcc", "/usr/local/cuda/bin/nvcc"):
        if name and (path := shutil.which(name)):
            return path
    return None


def run_tool(command: Sequence[str], what: str) -> str:
    """What a command writes.

    Raises:
        BuildError: it cannot be started, or fails: its last lines.
    """
    try:
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    except OSError as error:
        raise BuildError(f"{what} failed: {command[0]}: {error.strerror}") from None
    if result.returncode != 0:
        lines = [line for line in result.stdout.splitlines() if line.strip()]
        shown = "\n".join(f"    {line}" for line in lines[-_MAX_LINES:]) or "    (it wrote nothing)"
        how = f"signal {-result.returncode}" if result.returncode < 0 else f"exit code {result.returncode}"
        raise BuildError(f"{what} failed with {how}:\n  {shlex.join(command)}\n{shown}")
    return result.stdout


def known_architectures(nvcc: str) -> list[str]:
    """Compute capabilities nvcc compiles for, "75" and the like, ascending."""
    words = run_tool([nvcc, "--list-gpu-arch"], "asking nvcc for its architectures").split()
    return sorted((w.removeprefix("compute_") for w in words if w.startswith("compute_")), key=int)


def choose_architectures(nvcc: str) -> list[str]:
    """What to compile for: $MRCNN_CUDA_ARCHS ("75;90"), or those of CUDA_ARCHITECTURES that nvcc knows.

    Raises:
        BuildError: nvcc does not know what was asked for.
    """
    known = known_architectures(nvcc)
    wanted = os.environ.get("MRCNN_CUDA_ARCHS", "").replace(",", ";").replace(".", "").replace("sm_", "")
    if not wanted:
        return [arch for arch in CUDA_ARCHITECTURES if arch in known] or known[-1:]
    chosen = [arch.strip() for arch in wanted.split(";") if arch.strip()]
    unknown = [arch for arch in chosen if arch not in known]
    if unknown or not chosen:
        raise BuildError(f"MRCNN_CUDA_ARCHS: {nvcc} does not know {', '.join(unknown)}; it knows {', '.join(known)}")
    return sorted(chosen, key=int)


def cuda_flags(architectures: Sequence[str]) -> list[str]:
    """nvcc's flags: code for each architecture and PTX of the last; sums of products as the header writes them."""
    flags = ["-std=c++17", "-O3", "--fmad=false", "-Xcompiler", "-fPIC"]
    for arch in architectures:
        flags += ["-gencode", f"arch=compute_{arch},code=sm_{arch}"]
    return [*flags, "-gencode", f"arch=compute_{architectures[-1]},code=compute_{architectures[-1]}"]


def cxx_flags(source: str) -> list[str]:
    """The compiler's flags for one source file, TensorFlow's own aside."""
    # The loops over channels may fuse multiplication and addition; positions are computed as the header writes them.
    contract = "fast" if source in ("cpu_kernels.cc", "deformable_cpu.cc") else "off"
    # TensorFlow 2.18 to 2.21 agree only on names that the later ones call deprecated.
    return ["-O3", "-DNDEBUG", "-fPIC", f"-ffp-contract={contract}", "-Wno-deprecated-declarations", "-Wno-psabi"]


def cuda_runtime(nvcc: str) -> str:
    """The static runtime of nvcc's CUDA.

    Raises:
        BuildError: it is not there.
    """
    root = Path(nvcc).resolve().parents[1]
    places = [root / "lib64", root / "lib", root / "targets" / f"{platform.machine()}-linux" / "lib"]
    for place in (*places, Path("/usr/local/cuda/lib64"), Path(f"/usr/lib/{platform.machine()}-linux-gnu")):
        if (place / "libcudart_static.a").is_file():
            return str(place / "libcudart_static.a")
    raise BuildError(f"libcudart_static.a is not where {nvcc} is from; looked in {', '.join(map(str, places))}")
