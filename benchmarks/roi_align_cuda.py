"""The CUDA kernels of RoIAlign against the memory of the GPU and against torchvision's. Needs nvcc, PyTorch and a GPU.

The levels P2 to P5 of an 800 x 1088 image, 256 channels, RoIs of 8 to 800 pixels on the levels of their size; 2
samples per bin and axis. Each kernel's time is the median over launches on inputs that take turns, so that the cache
does not hold them; it is printed as a multiple

- of the floor: the bytes that must move at least (cells that are read, pooled features; for the gradient the pooled
  features and the maps), at the speed of a large copy from device to device measured beforehand,
- of torchvision's `MultiScaleRoIAlign` on the same boxes, features laid out its way beforehand.

Results are compared with torchvision's in double precision before anything is timed. Neither TensorFlow nor the built
op is used: the kernels are compiled for this GPU into a temporary folder.

    python benchmarks/roi_align_cuda.py [--launches 40] [--batch 1 4]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from rois import CHANNELS, HEIGHT, STRIDES, WIDTH, draw_boxes

try:
    import torch
    from torchvision.ops import MultiScaleRoIAlign
except ImportError as error:
    print(f"nothing to measure: {error}")
    sys.exit()

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from custom_ops.roi_align.test.kernels import Kernels, compile_with_nvcc, make_params  # noqa: E402

SETS = 4  # of inputs; one is 74 MB an image in float32, the largest cache of a GPU about as much
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def seconds(functions: list[Callable[[], None]], launches: int) -> float:
    """Median time on the device of one of the functions, which take turns."""
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
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda").random_()
    target = torch.empty_like(source)
    return 2 * source.numel() / seconds([lambda: target.copy_(source)], 20)


def pointers(tensors: list[torch.Tensor]) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors]


class Case:
    """One set of inputs, ours and torchvision's, and what both compute from it."""

    def __init__(self, kernels: Kernels, seed: int, dtype: str, batch: int, num_rois: int, size: int) -> None:
        rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        self.kernels, self.dtype = kernels, dtype
        kind = {"dtype": DTYPES[dtype], "device": "cuda"}
        shapes = [(batch, HEIGHT // s, WIDTH // s, CHANNELS) for s in STRIDES]
        boxes = draw_boxes(rng, batch, num_rois)
        self.maps = [torch.randn(shape, device="cuda").to(DTYPES[dtype]) for shape in shapes]
        self.params = make_params(shapes, STRIDES, batch * num_rois, (size, size), 2)
        self.boxes = torch.from_numpy(boxes.reshape(-1, 4)).cuda()
        self.image = torch.arange(batch, dtype=torch.int32, device="cuda").repeat_interleave(num_rois)
        self.rois = torch.empty(batch * num_rois * kernels.sizeof_roi, dtype=torch.uint8, device="cuda")
        self.pooled = torch.full((batch * num_rois, size, size, CHANNELS), float("nan"), **kind)
        self.upstream = torch.randn(self.pooled.shape, device="cuda").to(DTYPES[dtype])
        self.sums = [torch.full(shape, float("nan"), device="cuda") for shape in shapes]
        self.gathered = [torch.full(shape, float("nan"), **kind) for shape in shapes]

        self.pooler = MultiScaleRoIAlign([str(k) for k in range(len(STRIDES))], size, 2)
        self.their_maps = {str(k): m.permute(0, 3, 1, 2).contiguous().requires_grad_() for k, m in enumerate(self.maps)}
        self.their_boxes = [torch.from_numpy(b[:, [1, 0, 3, 2]].copy()).to(**kind) for b in boxes]
        self.their_upstream = self.upstream.permute(0, 3, 1, 2).contiguous()
        self.images = [(HEIGHT, WIDTH)] * batch

    def forward(self) -> None:
        stream = torch.cuda.current_stream().cuda_stream
        self.kernels.place(self.params, self.boxes.data_ptr(), self.image.data_ptr(), self.rois.data_ptr(), stream)
        maps, rois, pooled = pointers(self.maps), self.rois.data_ptr(), self.pooled.data_ptr()
        self.kernels.forward(self.dtype, self.params, maps, rois, pooled, stream)

    def backward(self) -> None:
        self._backward(self.upstream, self.sums)

    def backward_deterministic(self) -> None:
        self._backward(self.upstream, self.gathered, deterministic=True)

    def _backward(self, upstream: torch.Tensor, to: list[torch.Tensor], deterministic: bool = False) -> None:
        stream = torch.cuda.current_stream().cuda_stream
        arguments = upstream.data_ptr(), self.rois.data_ptr(), pointers(to), stream
        self.kernels.backward(self.dtype, self.params, *arguments, deterministic=deterministic)

    def their_forward(self) -> None:
        with torch.no_grad():
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
        assert all(torch.equal(a, b) for a, b in zip(first, self.gathered, strict=True)), "not deterministic"
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
        read = [torch.zeros_like(level) for level in self.sums]
        self._backward(torch.ones_like(self.upstream), read)
        cells = sum(int((level != 0).sum()) for level in read)
        pooled, maps = self.pooled.numel(), sum(level.numel() for level in self.sums)
        size = self.pooled.element_size()
        return (cells + pooled) * size, pooled * size + 4 * maps


def measure(kernels: Kernels, dtype: str, batch: int, num_rois: int, size: int, launches: int, speed: float) -> None:
    cases = [Case(kernels, seed, dtype, batch, num_rois, size) for seed in range(SETS)]
    cases[0].check()
    for case in cases:
        case.forward()
    forward_bytes, backward_bytes = cases[0].least_bytes()
    names = ["forward", "backward", "backward_deterministic"]
    if dtype != "bfloat16":  # which theirs does not know
        names += ["their_forward", "their_both"]
    time = {name: seconds([getattr(case, name) for case in cases], launches) for name in names}
    floors = {"forward": forward_bytes / speed, "backward": backward_bytes / speed}
    their = {}
    if "their_both" in time:
        their = {"forward": time["their_forward"], "backward": time["their_both"] - time["their_forward"]}
    for name, title in (
        ("forward", "forward"),
        ("backward", "gradient, atomic"),
        ("backward_deterministic", "gradient, deterministic"),
    ):
        phase = name.split("_")[0]
        print(
            f"{dtype:<9} {batch} x {num_rois:<5} {size:>2} x {size:<2}  {title:<24} {1e6 * time[name]:9.0f} us"
            f" {time[name] / floors[phase]:8.2f} of the floor"
            + (f" {time[name] / their[phase]:8.3f} of torchvision's" if their else ""),
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--launches", type=int, default=40)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--nvcc", default="nvcc")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("nothing to measure: no GPU")
        return
    speed = copy_speed()
    print(f"{torch.cuda.get_device_name()}: a copy moves {speed / 1e12:.2f} TB/s")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "kernels.so"
        compile_with_nvcc(arguments.nvcc, library)
        kernels = Kernels(library)
        for batch in arguments.batch:
            for num_rois, size in ((1000, 7), (100, 14)):
                for dtype in DTYPES:
                    measure(kernels, dtype, batch, num_rois, size, arguments.launches, speed)


if __name__ == "__main__":
    main()
