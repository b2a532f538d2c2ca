"""The C++ unit test and its sanitizers, the CUDA kernels without a GPU and through nvcc, and the whole build."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from custom_ops.roi_align.test import kernels
from mrcnn.native import loading, stamp, toolchain
from mrcnn.ops.roi_align import multilevel_roi_align
from tests.custom_ops.grid import CROPS, HEIGHT, RATIOS, STRIDE, WIDTH, case
from tests.tolerances import tolerance_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
KERNELS = {"roi_align": 21, "deformable_conv": 18, "rotated_roi_align": 12}
"""The folders with kernels, and how many CUDA kernels there are at least."""
# Sums are float32 everywhere; only the result is rounded to its dtype.
ROUNDING = {dtype: tolerance_of(dtype).rounding for dtype in (tf.float32, tf.float16, tf.bfloat16)}


@pytest.mark.parametrize("target", ["test", "asan", "tsan"])
@pytest.mark.parametrize("folder", KERNELS)
def test_unit_test(run_make, folder, target):
    assert "all tests passed" in run_make(target, folder=folder)


@pytest.mark.parametrize("folder", KERNELS)
def test_no_architecture_spills_registers(run_make, capsys, folder):
    nvcc = toolchain.find_nvcc()
    if nvcc is None:
        pytest.skip("no nvcc")
    report = run_make("cuda", f"NVCC={nvcc}", folder=folder)
    known = [arch for arch in toolchain.CUDA_ARCHITECTURES if arch in toolchain.known_architectures(nvcc)]
    for arch in known:
        result = re.findall(rf"^sm_{arch} +.+ (\d+) registers, (\d+) bytes spilled$", report, re.MULTILINE)
        registers, spilled = ([int(number) for number in column] for column in zip(*result, strict=True))
        with capsys.disabled():
            print(
                f"\nsm_{arch}: {len(result)} kernels, at most {max(registers)} registers, {sum(spilled)} bytes spilled"
            )
        assert len(result) >= KERNELS[folder] and sum(spilled) == 0


# --- The CUDA kernels, run by the shim ---


@pytest.fixture(scope="module")
def shim(native_build):
    """cuda_kernels.cu as a C++ compiler makes it with common/shim in CUDA's place."""
    library = native_build / "shim.so"
    kernels.compile_with_shim(toolchain.find_compiler(), library)
    return kernels.Kernels(library)


def by_shim(shim, dtype, features, boxes, index, upstream, strides, crop, ratio, aligned):
    """Pooled features, and the gradients of both kinds: float32 sums by atomics, and cell by cell."""
    params = kernels.make_params([level.shape for level in features], strides, len(boxes), crop, ratio, aligned)
    pooled = np.empty(upstream.shape, upstream.dtype)
    sums = [np.empty(level.shape, np.float32) for level in features]
    gathered = [np.empty_like(level) for level in features]
    rois = np.empty((len(boxes) + 1) * shim.sizeof_roi, np.uint8)
    shim.place(params, boxes.ctypes.data, index.ctypes.data, rois.ctypes.data)
    shim.forward(dtype.name, params, [level.ctypes.data for level in features], rois.ctypes.data, pooled.ctypes.data)
    for deterministic, gradient in ((False, sums), (True, gathered)):
        to = [level.ctypes.data for level in gradient]
        shim.backward(dtype.name, params, upstream.ctypes.data, rois.ctypes.data, to, deterministic=deterministic)
    return pooled, sums, gathered


def assert_shim_equals_pure_path(shim, dtype, features, boxes, valid, upstream, strides, crop, ratio, aligned):
    rounding = ROUNDING[dtype]
    features = [tf.cast(level, dtype) for level in features]
    upstream = tf.cast(upstream, dtype)
    index = loading.image_index(tf.constant(boxes), valid).numpy()
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(features)
        expected = multilevel_roi_align(features, boxes, strides, crop, ratio, aligned, valid, method="sparse")
        products = tf.cast(expected, tf.float32) * tf.cast(upstream, tf.float32)
        terms = tf.cast(expected, tf.float32) * tf.abs(tf.cast(upstream, tf.float32))
    gradient, terms = tape.gradient(products, features), tape.gradient(terms, features)
    arrays = [level.numpy() for level in features]
    flat_boxes = np.ascontiguousarray(boxes.reshape(-1, 4))
    flat_upstream = np.ascontiguousarray(upstream.numpy().reshape(-1, *crop, upstream.shape[-1]))
    pooled, sums, gathered = by_shim(
        shim, dtype, arrays, flat_boxes, index, flat_upstream, strides, crop, ratio, aligned
    )
    pooled = pooled.astype(np.float32).reshape(expected.shape)
    np.testing.assert_allclose(pooled, tf.cast(expected, tf.float32), rtol=rounding, atol=1e-5)
    for k, level in enumerate(gradient):
        scale = 1e-5 * max(1.0, float(tf.reduce_max(tf.cast(terms[k], tf.float32))))
        np.testing.assert_allclose(sums[k], tf.cast(level, tf.float32), rtol=rounding, atol=scale)
        np.testing.assert_allclose(
            gathered[k].astype(np.float32), tf.cast(level, tf.float32), rtol=rounding, atol=scale
        )


@pytest.mark.parametrize("dtype", list(ROUNDING))
@pytest.mark.parametrize("channels", [1, 3, 32])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("ratio", RATIOS)
def test_cuda_kernels_without_a_gpu(shim, rng, dtype, channels, batch, aligned, ratio):
    features, boxes = case(rng, batch, channels)
    crop = CROPS[(channels + ratio) % 4]
    valid = rng.uniform(size=boxes.shape[:2]) > 0.2
    upstream = rng.normal(size=(*boxes.shape[:2], *crop, channels))
    assert_shim_equals_pure_path(shim, dtype, [features], boxes, valid, upstream, [STRIDE], crop, ratio, aligned)


def test_cuda_kernels_on_a_pyramid(shim, rng):
    features = [rng.normal(size=(2, 64 >> k, 48 >> k, 8)) for k in range(4)]
    boxes = rng.uniform(-40, 200, (2, 30, 4)).astype(np.float32)
    boxes[..., 2:] = boxes[..., :2] + np.exp(rng.uniform(1, 6.5, (2, 30, 2)))
    upstream = rng.normal(size=(2, 30, 3, 3, 8))
    valid = np.ones((2, 30), bool)
    assert_shim_equals_pure_path(shim, tf.float32, features, boxes, valid, upstream, [4, 8, 16, 32], (3, 3), 2, False)


def test_cuda_kernels_without_rois(shim):
    features = np.ones((1, HEIGHT, WIDTH, 4), np.float32)
    none = np.zeros((1, 0, 4), np.float32)
    upstream = np.zeros((1, 0, 7, 7, 4), np.float32)
    assert_shim_equals_pure_path(
        shim, tf.float32, [features], none, np.ones((1, 0), bool), upstream, [STRIDE], (7, 7), 2, False
    )


# --- The whole build ---

USE = """
import logging, sys
logging.basicConfig(stream=sys.stderr)
import numpy as np
from mrcnn.native import loading
from mrcnn.ops.roi_align import roi_align
pooled = roi_align(np.ones((1, 4, 4, 2), np.float32), np.array([[[0., 0, 8, 8]]], np.float32), 4, 2)
assert np.array_equal(pooled, np.ones((1, 1, 2, 2, 2)))
print("op" if loading.state().library is not None else "python", loading.state().reason)
"""


def python(*arguments, **environment):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT), **environment}
    return subprocess.Popen(
        [sys.executable, *arguments], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finished(process):
    out, err = process.communicate()
    return process.returncode, out, err


@pytest.fixture
def copying_compiler(op, tmp_path):
    """A $CXX that compiles nothing and links by copying the op as it was built, so that a build takes seconds."""
    library = tmp_path / "unstamped.so"
    library.write_bytes(loading.state().path.read_bytes())  # what follows the code is no concern of the loader
    path = tmp_path / "copying-g++"
    path.write_text(
        "#!/bin/sh\n"
        "case $1 in --version) echo copying 1.0; exit 0;; esac\n"
        f'while [ $# -gt 1 ]; do if [ "$1" = -o ]; then cp {library} "$2"; fi; shift; done\n'
    )
    path.chmod(0o755)
    return str(path)


def test_two_processes_build_at_once(copying_compiler, tmp_path):
    cache = tmp_path / "cache"
    environment = {"MRCNN_CACHE_DIR": str(cache), "CXX": copying_compiler, "MRCNN_CUDA": "0"}
    results = [finished(p) for p in [python("-m", "mrcnn.native.build", **environment) for _ in range(2)]]
    for code, out, err in results:
        assert code == 0, err
        assert "CPU kernels for TensorFlow" in out
    (library,) = (cache / "ops").iterdir()
    assert stamp.read_stamp(library).compiler == "copying 1.0"
    code, out, err = finished(python("-c", USE, **environment))
    assert code == 0 and out.startswith("op"), err
    assert "RoIAlign runs in pure TensorFlow" not in err


def test_damaged_library_never_crashes(copying_compiler, tmp_path):
    library = tmp_path / "ops" / loading.state().path.name
    library.parent.mkdir()
    content = loading.state().path.read_bytes()
    for damaged in (content[: len(content) // 2], content[:-1], content[:9000] + b"\0" + content[9001:]):
        library.write_bytes(damaged)
        code, out, err = finished(python("-c", USE, MRCNN_CACHE_DIR=str(tmp_path), MRCNN_ROI_ALIGN=""))
        assert code == 0 and out.startswith("python"), err
        assert err.count("RoIAlign runs in pure TensorFlow") == 1 and str(library) in err


def test_setup_py_builds(copying_compiler, tmp_path):
    environment = {"MRCNN_CACHE_DIR": str(tmp_path), "CXX": copying_compiler, "MRCNN_CUDA": "0"}
    code, _, err = finished(python(str(ROOT / "setup.py"), "-q", "build_ops", **environment))
    assert code == 0, err
    assert [path.name for path in (tmp_path / "ops").iterdir()] == [loading.state().path.name]


def test_golden_taps_pass_through_the_op(op):
    environment = {"MRCNN_ROI_ALIGN": "op", "MRCNN_CACHE_DIR": str(loading.state().path.parents[1])}
    arguments = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--override-ini", "addopts=--import-mode=importlib"]
    arguments += [str(ROOT / "tests/golden/test_inference.py"), "-k", "probe_boxes and tv_mask_r50_fpn"]
    code, out, err = finished(python(*arguments, **environment))
    assert code == 0 and " passed" in out, out[-3000:] + err[-3000:]
