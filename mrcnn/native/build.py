"""Building the RoIAlign op: sources -> a stamped library in the user's cache.

The library holds ops of one TensorFlow version and C++ ABI. What it was built for is written into the file itself,
after the code, with a checksum over all of it: `read_stamp` tells a whole library from anything else before the
system's loader, which may crash on half of one, sees it. The name says the same, so that environments with different
TensorFlows share the cache.

    <cache>/roi_align-tf2.21.0-abi1-x86_64-<digest of the sources>.so
    cache: $MRCNN_CACHE_DIR, else $XDG_CACHE_HOME/mrcnn/ops, else ~/.cache/mrcnn/ops

Imports TensorFlow only where it must, and nothing else outside the standard library, so that setup.py can use it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from mrcnn.errors import MrcnnError
from mrcnn.files import atomic_write
from mrcnn.native.trust import why_not_trusted

SOURCES = ("ops.cc", "cpu_kernels.cc", "taps.cc")
CUDA_SOURCE = "cuda_kernels.cu"
CUDA_ARCHITECTURES = ("70", "75", "80", "86", "89", "90")
"""What is compiled for by default: those of them that nvcc knows, and PTX of the last for later devices."""

_MAGIC = b"MRCNNOP1"
_DIGEST_SIZE = hashlib.sha256().digest_size
_MAX_LINES = 15


class BuildError(MrcnnError, RuntimeError):
    """The op cannot be built; the message says why and what to do."""


class StampError(MrcnnError, ValueError):
    """A file is not a whole library with a stamp; the message says what it is instead."""


@dataclasses.dataclass(frozen=True)
class Identity:
    """What a library must have been built for to be loaded here."""

    tensorflow: str  # version
    cxx_abi: int  # _GLIBCXX_USE_CXX11_ABI
    machine: str  # as platform.machine() says
    sources: str  # digest of the C++ and CUDA sources

    @property
    def filename(self) -> str:
        return f"roi_align-tf{self.tensorflow}-abi{self.cxx_abi}-{self.machine}-{self.sources[:12]}.so"


@dataclasses.dataclass(frozen=True)
class Stamp:
    """What a library says of itself."""

    identity: Identity
    cuda: str  # version of nvcc, or "": no CUDA kernels
    cuda_architectures: tuple[str, ...]
    compiler: str


def source_dir() -> Path | None:
    """The folder of the C++ sources: beside the package in a checkout, inside it when installed. None: not there."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package.parent / "custom_ops" / "roi_align", package / "custom_ops" / "roi_align"):
        if (folder / SOURCES[0]).is_file():
            return folder
    return None


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


_NO_SOURCES = "the sources of the op (custom_ops/roi_align) are not part of this installation"


def current_identity() -> Identity:
    """What fits the TensorFlow of this process and the sources of this package.

    Raises:
        BuildError: the sources are not there.
    """
    import tensorflow as tf

    folder = source_dir()
    if folder is None:
        raise BuildError(_NO_SOURCES)
    return Identity(tf.__version__, int(tf.sysconfig.CXX11_ABI_FLAG), platform.machine(), source_digest(folder))


def library_path() -> Path:
    """Where the library for this process lies once it is built."""
    return cache_dir() / current_identity().filename


def append_stamp(library: Path, stamp: Stamp) -> None:
    """Writes the stamp and the checksum behind the code."""
    text = json.dumps(dataclasses.asdict(stamp)).encode()
    content = library.read_bytes() + text + len(text).to_bytes(4, "little")
    library.write_bytes(content + hashlib.sha256(content).digest() + _MAGIC)


def read_stamp(library: Path) -> Stamp:
    """What a library was built for. Does not load it.

    Raises:
        StampError: the file was not built by `build`, or is cut off or changed.
        OSError: it cannot be read.
    """
    content = library.read_bytes()
    if not content:
        raise StampError("the file is empty")
    if not content.endswith(_MAGIC):
        raise StampError("the file bears no stamp: it was not written by `mrcnn build-ops`, or its end is missing")
    body, digest = content[: -len(_MAGIC) - _DIGEST_SIZE], content[-len(_MAGIC) - _DIGEST_SIZE : -len(_MAGIC)]
    if hashlib.sha256(body).digest() != digest:
        raise StampError("the file is damaged: its checksum does not fit its content")
    size = int.from_bytes(body[-4:], "little")
    try:
        fields = json.loads(body[-4 - size : -4])
        identity = Identity(**fields.pop("identity"))
        return Stamp(identity, fields["cuda"], tuple(fields["cuda_architectures"]), fields["compiler"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StampError(f"the stamp cannot be read ({error})") from None


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


def _run(command: Sequence[str], what: str) -> str:
    """What a command writes. Raises BuildError with its last lines if it fails."""
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
    words = _run([nvcc, "--list-gpu-arch"], "asking nvcc for its architectures").split()
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
    contract = "fast" if source == "cpu_kernels.cc" else "off"
    # TensorFlow 2.18 to 2.21 agree only on names that the later ones call deprecated.
    return ["-O3", "-DNDEBUG", "-fPIC", f"-ffp-contract={contract}", "-Wno-deprecated-declarations", "-Wno-psabi"]


_SELF_CHECK = """
import os, sys
os.environ["CUDA_VISIBLE_DEVICES"] = ""
import tensorflow as tf
ops = tf.load_op_library(sys.argv[1])
features = tf.reshape(tf.range(12.0), [1, 3, 4, 1])
pooled = ops.mrcnn_roi_align(features=features, boxes=[[0.5, 1.0, 2.5, 3.0]], box_index=[0], crop_height=1,
                             crop_width=2, spatial_scale=1.0, sampling_ratio=1, aligned=True)
assert pooled.numpy().ravel().tolist() == [5.0, 6.0], pooled.numpy().ravel().tolist()
"""


def build(cuda: bool | None = None, log: Callable[[str], None] = print) -> Path:
    """Compiles the op for the TensorFlow of this Python and puts the library into the cache, at the end, in one step.

    Args:
        cuda: with CUDA kernels or without; None: $MRCNN_CUDA (0 or 1), else with them where TensorFlow was built with
            CUDA and there is an nvcc.
        log: called with each line about the progress.

    Returns:
        The library.

    Raises:
        BuildError: no compiler, a compiler that fails (with its last lines), a cache that cannot be written.
    """
    import tensorflow as tf

    identity = current_identity()
    folder = source_dir()
    if folder is None:
        raise BuildError(_NO_SOURCES)
    compiler = find_compiler()
    if compiler is None:
        raise BuildError("no C++ compiler: install g++ or clang++, or name one in CXX")
    if cuda is None and os.environ.get("MRCNN_CUDA") in ("0", "1"):
        cuda = os.environ["MRCNN_CUDA"] == "1"
    nvcc = None if cuda is False else find_nvcc()
    if cuda and nvcc is None:
        raise BuildError("no nvcc: install CUDA's compiler, or name it in NVCC, or build without CUDA (MRCNN_CUDA=0)")
    if cuda is None and nvcc and not tf.test.is_built_with_cuda():
        log("this TensorFlow is built without CUDA, so the op is too")
        nvcc = None
    target = cache_dir() / identity.filename
    _make_folder(target.parent)
    try:
        with atomic_write(target.with_suffix(".probe")) as probe:
            probe.touch()
        target.with_suffix(".probe").unlink(missing_ok=True)
    except OSError as error:
        raise BuildError(
            f"{target.parent} cannot be written ({error.strerror}); MRCNN_CACHE_DIR names another folder"
        ) from None

    version = _run([compiler, "--version"], "asking the compiler for its version").splitlines()[0]
    architectures = choose_architectures(nvcc) if nvcc else []
    tensorflow_flags = [
        # Its headers are the system's, so that their warnings are not ours.
        f"-isystem{flag[2:]}" if flag.startswith("-I") else flag
        for flag in tf.sysconfig.get_compile_flags()
    ]
    cuda_version = ""
    with tempfile.TemporaryDirectory(prefix="mrcnn_ops_") as temporary:
        objects = []
        for source in SOURCES:
            log(f"{Path(compiler).name} {source}")
            objects.append(f"{temporary}/{source}.o")
            flags = [*cxx_flags(source), *(["-DMRCNN_WITH_CUDA"] if nvcc else []), *tensorflow_flags]
            _run([compiler, *flags, "-c", str(folder / source), "-o", objects[-1]], f"compiling {source}")
        link_flags = list(tf.sysconfig.get_link_flags())
        if nvcc:
            cuda_version = _run([nvcc, "--version"], "asking nvcc for its version").split("release ")[-1].split(",")[0]
            log(f"nvcc {CUDA_SOURCE} for {', '.join(f'sm_{arch}' for arch in architectures)}")
            objects.append(f"{temporary}/{CUDA_SOURCE}.o")
            command = [nvcc, "-ccbin", compiler, *cuda_flags(architectures), "-c", str(folder / CUDA_SOURCE)]
            _run([*command, "-o", objects[-1]], f"compiling {CUDA_SOURCE}")
            # The static runtime: the library loads where no CUDA is installed, and meets no other version's symbols.
            runtime = _cuda_runtime(nvcc)
            link_flags += [runtime, "-Wl,--exclude-libs,ALL", "-ldl", "-lrt", "-lpthread"]
        try:
            with atomic_write(target) as library:
                command = [compiler, "-shared", "-o", str(library), *objects, *link_flags]
                _run(command, "linking")
                # Loading it can crash Python: another Python tries it first.
                log("trying the library")
                _run([sys.executable, "-c", _SELF_CHECK, str(library)], "the first use of the library")
                append_stamp(library, Stamp(identity, cuda_version, tuple(architectures), version))
                library.chmod(library.stat().st_mode & ~0o022)  # else it would not be loaded, whatever the umask
        except OSError as error:
            raise BuildError(f"{target} cannot be written ({error.strerror})") from None
    return target


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


def _cuda_runtime(nvcc: str) -> str:
    root = Path(nvcc).resolve().parents[1]
    places = [root / "lib64", root / "lib", root / "targets" / f"{platform.machine()}-linux" / "lib"]
    for place in (*places, Path("/usr/local/cuda/lib64"), Path(f"/usr/lib/{platform.machine()}-linux-gnu")):
        if (place / "libcudart_static.a").is_file():
            return str(place / "libcudart_static.a")
    raise BuildError(f"libcudart_static.a is not where {nvcc} is from; looked in {', '.join(map(str, places))}")


def build_ops(cuda: bool | None = None) -> int:
    """`mrcnn build-ops`: builds, reports the progress, and returns the exit code: 0, or 1 after a message on stderr."""
    try:
        library = build(cuda)
    except BuildError as error:
        print(f"mrcnn: the RoIAlign op was not built: {error}", file=sys.stderr)
        return 1
    stamp = read_stamp(library)
    kernels = f"CPU and CUDA {stamp.cuda} kernels" if stamp.cuda else "CPU kernels"
    print(f"{library}: {kernels} for TensorFlow {stamp.identity.tensorflow}")
    return 0


if __name__ == "__main__":
    sys.exit(build_ops())
