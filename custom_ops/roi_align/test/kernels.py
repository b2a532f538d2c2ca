"""The CUDA kernels called from Python without TensorFlow, through entry.cc: on a GPU, or by the shim on none."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1]
MAX_LEVELS = 8
TYPES = {"float32": 0, "float16": 1, "bfloat16": 2}


class Level(ctypes.Structure):
    _fields_ = (("height", ctypes.c_int), ("width", ctypes.c_int), ("scale", ctypes.c_float))


class Params(ctypes.Structure):  # as in sampling.h
    _fields_ = (
        ("num_levels", ctypes.c_int),
        ("levels", Level * MAX_LEVELS),
        ("min_level", ctypes.c_int),
        ("batch", ctypes.c_int),
        ("channels", ctypes.c_int),
        ("num_rois", ctypes.c_int),
        ("bins_y", ctypes.c_int),
        ("bins_x", ctypes.c_int),
        ("sampling_ratio", ctypes.c_int),
        ("aligned", ctypes.c_bool),
        ("level_rule", ctypes.c_int),
        ("level_epsilon", ctypes.c_float),
        ("canonical_size", ctypes.c_float),
        ("canonical_level", ctypes.c_int),
        ("end_offset", ctypes.c_float),
    )


def make_params(
    shapes: Sequence[tuple[int, ...]],
    strides: Sequence[float],
    num_rois: int,
    crop: tuple[int, int],
    ratio: int,
    aligned: bool = False,
) -> Params:
    """BaseConfig for maps of [batch, height, width, channels] from P2 on."""
    params = Params(
        num_levels=len(shapes),
        min_level=2,
        batch=shapes[0][0],
        channels=shapes[0][-1],
        num_rois=num_rois,
        bins_y=crop[0],
        bins_x=crop[1],
        sampling_ratio=ratio,
        aligned=aligned,
        level_epsilon=1e-6,
        canonical_size=224.0,
        canonical_level=4,
    )
    for k, (shape, stride) in enumerate(zip(shapes, strides, strict=True)):
        params.levels[k] = Level(shape[1], shape[2], 1 / stride)
    return params


def compile_with_shim(compiler: str, library: Path) -> None:
    """cuda_kernels.cu as a C++ compiler makes it with common/shim in CUDA's place."""
    command = [compiler, "-std=c++17", "-O2", "-shared", "-fPIC", "-ffp-contract=off", "-Wno-psabi", f"-I{FOLDER}"]
    command += [f"-I{FOLDER.parent}/common/shim", "-x", "c++", f"{FOLDER}/cuda_kernels.cu", f"{FOLDER}/test/entry.cc"]
    subprocess.run([*command, "-o", str(library)], check=True)


def compile_with_nvcc(nvcc: str, library: Path) -> None:
    """cuda_kernels.cu for the GPU of this machine."""
    command = [nvcc, "-std=c++17", "-O3", "--fmad=false", "-arch=native", "-shared", "-Xcompiler", "-fPIC"]
    command += [f"-I{FOLDER}", f"{FOLDER}/cuda_kernels.cu", f"{FOLDER}/test/entry.cc", "-o", str(library)]
    subprocess.run(command, check=True)


class Kernels:
    """A compiled library. Pointers are integers; every call raises RuntimeError with what CUDA says went wrong."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        assert self._library.entry_sizeof_params() == ctypes.sizeof(Params)
        self.sizeof_roi: int = self._library.entry_sizeof_roi()

    def _call(self, name: str, *arguments: object) -> None:
        function = getattr(self._library, name)
        function.restype = ctypes.c_char_p
        if error := function(*arguments):
            raise RuntimeError(f"{name}: {error.decode()}")

    def place(self, params: Params, boxes: int, image: int, rois: int, stream: int = 0) -> None:
        """Boxes f32[R, 4] and their images i32[R] -> `sizeof_roi` bytes a RoI."""
        self._call("entry_place", ctypes.byref(params), *map(ctypes.c_void_p, (boxes, image, rois, stream)))

    def forward(
        self, dtype: str, params: Params, features: Sequence[int], rois: int, pooled: int, stream: int = 0
    ) -> None:
        arguments = (_array(features), *map(ctypes.c_void_p, (rois, pooled, stream)))
        self._call("entry_forward", TYPES[dtype], ctypes.byref(params), *arguments)

    def backward(
        self,
        dtype: str,
        params: Params,
        upstream: int,
        rois: int,
        gradient: Sequence[int],
        stream: int = 0,
        *,
        deterministic: bool = False,
    ) -> None:
        """Into float32 maps by atomic additions, or, deterministic, into maps of `dtype` cell by cell."""
        name = "entry_backward_deterministic" if deterministic else "entry_backward"
        arguments = (*map(ctypes.c_void_p, (upstream, rois)), _array(gradient), ctypes.c_void_p(stream))
        self._call(name, TYPES[dtype], ctypes.byref(params), *arguments)


def _array(pointers: Sequence[int]) -> ctypes.Array:
    return (ctypes.c_void_p * len(pointers))(*pointers)
