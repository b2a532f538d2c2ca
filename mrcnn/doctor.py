"""What this machine offers and what the package makes of it; to be shown first when something is wrong or slow."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys

from mrcnn import distribution
from mrcnn._version import __version__
from mrcnn.hardware import bfloat16_instructions

THREAD_VARIABLES = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "TF_ENABLE_ONEDNN_OPTS")


def diagnose() -> dict[str, str]:
    """What is installed, which devices TensorFlow sees, how RoIAlign runs, how many threads work.

    Returns:
        Answers by subject, in the order to show them. Nothing that is missing or broken raises.
    """
    answers = {"mrcnn": f"{__version__} in {os.path.dirname(os.path.abspath(__file__))}{_installed_as()}"}
    other = distribution.other_distribution()
    if other is not None:
        answers["another mrcnn"] = distribution.explain(other)
    answers |= {
        "Python": f"{platform.python_version()} ({sys.executable})",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    try:
        import tensorflow as tf
    except Exception as error:  # whatever it is, it is the diagnosis
        answers["TensorFlow"] = f"cannot be imported: {error}"
        return answers
    build = tf.sysconfig.get_build_info()
    answers["TensorFlow"] = tf.__version__
    for package in ("keras", "numpy", "opencv-python", "opencv-python-headless", "pycocotools"):
        try:
            answers[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            if not package.startswith("opencv"):
                answers[package] = "not installed"
    if build.get("is_cuda_build"):
        answers["CUDA"] = (
            f"TensorFlow is built for CUDA {build.get('cuda_version')}, cuDNN {build.get('cudnn_version')}"
        )
    else:
        answers["CUDA"] = "TensorFlow is built without CUDA"
    answers["GPUs"] = _gpus()
    answers["RoIAlign"] = _roi_align()
    answers["compilers"] = _compilers()
    try:
        usable = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        usable = os.cpu_count() or 0
    intra = tf.config.threading.get_intra_op_parallelism_threads()
    inter = tf.config.threading.get_inter_op_parallelism_threads()
    answers["cores"] = f"{os.cpu_count()}, of which {usable} may be used"
    answers["threads"] = f"within an operation {intra or 'as many as cores'}, between {inter or 'as many as cores'}"
    answers["bfloat16"] = bfloat16_instructions() or "nothing here is faster in it than in float32"
    answers["variables"] = ", ".join(f"{v}={os.environ[v]}" for v in THREAD_VARIABLES if v in os.environ) or "none set"
    return answers


def _installed_as() -> str:
    try:
        return f", installed as {distribution.NAME} {importlib.metadata.version(distribution.NAME)}"
    except importlib.metadata.PackageNotFoundError:  # on the path only, or installed under an earlier name
        return ""


def _gpus() -> str:
    import tensorflow as tf

    try:
        gpus = tf.config.list_physical_devices("GPU")
        described = []
        for gpu in gpus:
            details = tf.config.experimental.get_device_details(gpu)
            capability = ".".join(str(part) for part in details.get("compute_capability", ()))
            described.append(f"{details.get('device_name', gpu.name)} (compute capability {capability or 'unknown'})")
    except Exception as error:
        return f"cannot be asked for: {error}"
    return "; ".join(described) or "none that TensorFlow can use"


def _roi_align() -> str:
    from mrcnn.native import loading

    forced = os.environ.get(loading.VARIABLE)
    setting = f" ({loading.VARIABLE}={forced})" if forced else ""
    state = loading.state()
    if state.library is None or state.stamp is None:
        return f"pure TensorFlow{setting}, because {state.reason}; `mrcnn build-ops` builds the op"
    stamp = state.stamp
    kernels = "CPU kernels"
    if stamp.cuda:
        kernels += f" and CUDA {stamp.cuda} kernels for {', '.join(f'sm_{arch}' for arch in stamp.cuda_architectures)}"
    used = "the op is loaded but not used" if forced == "python" else "the op"
    return f"{used}{setting}: {kernels}, {state.path}, compiled by {stamp.compiler}"


def _compilers() -> str:
    from mrcnn.native.toolchain import find_compiler, find_nvcc

    return f"C++: {find_compiler() or 'none'}; CUDA: {find_nvcc() or 'none'}"


def print_report() -> None:
    """`mrcnn doctor`: the answers of `diagnose`, one subject per line."""
    answers = diagnose()
    width = max(len(subject) for subject in answers)
    for subject, answer in answers.items():
        print(f"{subject:<{width}}  {answer}")


if __name__ == "__main__":
    print_report()
