"""The CUDA kernels of RoIAlign against the memory of the GPU and against torchvision's. Needs nvcc, PyTorch and a GPU.

The levels P2 to P5 of an 800 x 1088 image, 256 channels, RoIs of 8 to 800 pixels on the levels of their size; 2
samples per bin and axis. Each kernel's time is the median over launches on inputs that take turns, so that the cache
does not hold them. torchvision's is that of `MultiScaleRoIAlign` on the same boxes, features laid out its way
beforehand. "x floor" are multiples of the time that the bytes which must move at least (cells that are read, pooled
features; for the gradient the pooled features and the maps) take at the speed of a large copy from device to device.

Results are compared with torchvision's in double precision before anything is timed. Neither TensorFlow nor the built
op is used: the kernels are compiled for this GPU into a temporary folder.

    python benchmarks/roi_align_cuda.py [--peers] [--case BATCHxROISxSIDE:DTYPE ...] [--launches 40]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import harness
import numpy as np
from rois import CHANNELS, HEIGHT, STRIDES, WIDTH, draw_boxes

from custom_ops.roi_align.test.kernels import Kernels, compile_with_nvcc, make_params

SETS = 4  # of inputs; one is 74 MB an image in float32, the largest cache of a GPU about as much
DTYPES = ("float32", "float16", "bfloat16")
CASES = [f"{size}:{dtype}" for size in ("1x1000x7", "1x100x14", "4x1000x7", "4x100x14") for dtype in DTYPES]


def seconds(functions: Sequence[Callable[[], Any]], launches: int) -> float:
    """Median time on the device of one of the functions, which take turns."""
    import torch

    events = []
    for i in range(launches + len(functions)):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        functions[i % len(functions)]()
        end.record()
        events.append((begin, end))
    torch.cuda.synchronize()
    return median(begin.elapsed_time(end) for begin, end in events[len(functions) :]) / 1000


def copy_speed() -> float:
    """Bytes a second that a copy from device to device reads and writes."""
    import torch

    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda").random_()
    target = torch.empty_like(source)
    return 2 * source.numel() / seconds([lambda: target.copy_(source)], 20)


def pointers(tensors: Sequence[Any]) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors]


class Case:
    """One set of inputs, ours and torchvision's, and what both compute from it."""

    def __init__(self, kernels: Any, seed: int, dtype: str, batch: int, num_rois: int, size: int) -> None:
        import torch
        from torchvision.ops import MultiScaleRoIAlign

        self.torch, kept = torch, getattr(torch, dtype)
        rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        self.kernels, self.dtype = kernels, dtype
        kind = {"dtype": kept, "device": "cuda"}
        shapes = [(batch, HEIGHT // s, WIDTH // s, CHANNELS) for s in STRIDES]
        boxes = draw_boxes(rng, batch, num_rois)
        self.maps = [torch.randn(shape, device="cuda").to(kept) for shape in shapes]
        self.params = make_params(shapes, STRIDES, batch * num_rois, (size, size), 2)
        self.boxes = torch.from_numpy(boxes.reshape(-1, 4)).cuda()
        self.image = torch.arange(batch, dtype=torch.int32, device="cuda").repeat_interleave(num_rois)
        roi = kernels.sizeof_roi if kernels is not None else 0
        self.rois = torch.empty(batch * num_rois * roi, dtype=torch.uint8, device="cuda")
        self.pooled = torch.full((batch * num_rois, size, size, CHANNELS), float("nan"), **kind)
        self.upstream = torch.randn(self.pooled.shape, device="cuda").to(kept)
        self.sums = [torch.full(shape, float("nan"), device="cuda") for shape in shapes]
        self.gathered = [torch.full(shape, float("nan"), **kind) for shape in shapes]

        self.pooler = MultiScaleRoIAlign([str(k) for k in range(len(STRIDES))], size, 2)
        self.their_maps = {str(k): m.permute(0, 3, 1, 2).contiguous().requires_grad_() for k, m in enumerate(self.maps)}
        self.their_boxes = [torch.from_numpy(b[:, [1, 0, 3, 2]].copy()).to(**kind) for b in boxes]
        self.their_upstream = self.upstream.permute(0, 3, 1, 2).contiguous()
        self.images = [(HEIGHT, WIDTH)] * batch

    def forward(self) -> None:
        stream = self.torch.cuda.current_stream().cuda_stream
        self.kernels.place(self.params, self.boxes.data_ptr(), self.image.data_ptr(), self.rois.data_ptr(), stream)
        maps, rois, pooled = pointers(self.maps), self.rois.data_ptr(), self.pooled.data_ptr()
        self.kernels.forward(self.dtype, self.params, maps, rois, pooled, stream)

    def backward(self) -> None:
        self._backward(self.upstream, self.sums)

    def backward_deterministic(self) -> None:
        self._backward(self.upstream, self.gathered, deterministic=True)

    def _backward(self, upstream: Any, to: Sequence[Any], deterministic: bool = False) -> None:
        stream = self.torch.cuda.current_stream().cuda_stream
        arguments = upstream.data_ptr(), self.rois.data_ptr(), pointers(to), stream
        self.kernels.backward(self.dtype, self.params, *arguments, deterministic=deterministic)

    def their_forward(self) -> None:
        with self.torch.no_grad():
            self.pooler(self.their_maps, self.their_boxes, self.images)

    def their_both(self) -> None:
        for level in self.their_maps.values():
            level.grad = None
        self.pooler(self.their_maps, self.their_boxes, self.images).backward(self.their_upstream)

    def check(self) -> None:
        """Against torchvision in double precision: relative errors of the results as a whole."""
        self.forward()
        self.backward()
        self.backward_deterministic()
        first = [level.clone() for level in self.gathered]
        self.backward_deterministic()
        assert all(self.torch.equal(a, b) for a, b in zip(first, self.gathered, strict=True)), "not deterministic"
        maps = {k: m.detach().double().requires_grad_() for k, m in self.their_maps.items()}
        boxes = list(self.boxes[:, [1, 0, 3, 2]].double().chunk(len(self.images)))
        expected = self.pooler(maps, boxes, self.images)
        expected.backward(self.their_upstream.double())
        limit = {"float32": 1e-4, "float16": 1e-3, "bfloat16": 5e-3}[self.dtype]  # positions are in float32
        results = [("forward", self.pooled.permute(0, 3, 1, 2), expected)]
        for k, level in enumerate(maps.values()):
            results.append((f"gradient of level {k}", self.sums[k].permute(0, 3, 1, 2), level.grad))
            results.append((f"deterministic gradient of level {k}", self.gathered[k].permute(0, 3, 1, 2), level.grad))
        for name, ours, theirs in results:
            error = ((ours.double() - theirs).norm() / theirs.norm()).item()
            assert error < limit, f"{self.dtype}, {name}: relative error {error:.1e}, expected under {limit:.0e}"

    def least_bytes(self) -> tuple[int, int]:
        """What the forward pass and the gradient must read and write at least."""
        read = [self.torch.zeros_like(level) for level in self.sums]
        self._backward(self.torch.ones_like(self.upstream), read)
        cells = sum(int((level != 0).sum()) for level in read)
        pooled, maps = self.pooled.numel(), sum(level.numel() for level in self.sums)
        size = self.pooled.element_size()
        return (cells + pooled) * size, pooled * size + 4 * maps


def inputs(case: str, kernels: Kernels | None) -> list[Case]:
    """What takes turns in a case."""
    sizes, dtype = case.split(":")
    batch, num_rois, size = (int(v) for v in sizes.split("x"))
    return [Case(kernels, seed, dtype, batch, num_rois, size) for seed in range(SETS)]


def require_gpu() -> str:
    """The name of the GPU."""
    import torch

    if not torch.cuda.is_available():
        raise harness.NotHere("no GPU")
    return str(torch.cuda.get_device_name())


def ours(case: str, options: argparse.Namespace) -> Callable[[], harness.Answer]:
    """The kernels, compiled for this GPU."""
    name = require_gpu()
    library = options.folder / "kernels.so"
    if not library.exists():
        compile_with_nvcc(options.nvcc, library)
    cases = inputs(case, Kernels(library))
    cases[0].check()
    for own in cases:
        own.forward()
    speed = copy_speed()
    forward_floor, backward_floor = (least / speed for least in cases[0].least_bytes())

    def run() -> harness.Answer:
        forward = seconds([own.forward for own in cases], options.launches)
        backward = seconds([own.backward for own in cases], options.launches)
        deterministic = seconds([own.backward_deterministic for own in cases], options.launches)
        return {
            "seconds": forward,
            "gradient": backward,
            "deterministic": deterministic,
            "x floor": forward / forward_floor,
            "gradient x floor": backward / backward_floor,
            "deterministic x floor": deterministic / backward_floor,
            "note": f"{name}, a copy moves {speed / 1e12:.2f} TB/s",
        }

    return run


def theirs(case: str, options: argparse.Namespace) -> Callable[[], harness.Answer]:
    """torchvision's kernels."""
    name = require_gpu()
    if case.endswith(":bfloat16"):
        raise harness.NotHere("torchvision's RoIAlign knows no bfloat16")
    cases = inputs(case, None)

    def run() -> harness.Answer:
        forward = seconds([own.their_forward for own in cases], options.launches)
        both = seconds([own.their_both for own in cases], options.launches)
        return {"seconds": forward, "gradient": both - forward, "note": name}

    return run


def arguments(parser: argparse.ArgumentParser) -> Any:
    """The script's own."""
    parser.add_argument("--launches", type=int, default=40)
    parser.add_argument("--nvcc", default="nvcc")


BENCHMARK = harness.Benchmark(
    __doc__,
    engines={"ours": ours},
    peers={"torchvision": theirs},
    cases=CASES,
    rounds=3,
    arguments=arguments,
)

if __name__ == "__main__":
    harness.run(BENCHMARK)
