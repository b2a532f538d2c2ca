"""What the importers of foreign checkpoints share: our names for their arrays, and their layouts turned into ours.

An importer says which of our variables each foreign name is. From those names and the network (`infer`) follows the
conversion, variable by variable: Caffe2 and PyTorch store a convolution as (out, in, height,
width), a dense layer as (out, in), flatten features channels first and order a box as (x, y, width, height).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np

from mrcnn.modeling.normalize import NormKind
from mrcnn.weights.network import Network
from mrcnn.weights.report import WeightsError
from mrcnn.weights.stored_array import StoredArray

ROI_STAGE = "roi_stage"
"""Where a model keeps the stage that runs on each RoI."""
_LEAVES = {"weight": "kernel", "bias": "bias"}
_NORM_LEAVES = {
    "weight": "norm/gamma",
    "bias": "norm/beta",
    "running_mean": "norm/moving_mean",
    "running_var": "norm/moving_variance",
}
_YX = [1, 0, 3, 2]  # (x, y, width, height) to (y, x, height, width)


def leaf_of(theirs: str, is_norm: bool) -> str | None:
    """Our name of PyTorch's "weight", "bias", "running_mean" or "running_var", or None for anything else."""
    return (_NORM_LEAVES if is_norm else _LEAVES).get(theirs)


Rows = tuple[tuple[str, Callable[[re.Match[str]], str], Mapping[str, str]], ...]
"""Pattern of a module's name, our layer of a match, our leaf by theirs."""


def name_by_rows(rows: Rows, theirs: str) -> str | None:
    """Our name of an array by the first row that knows its module and its leaf; None: no row does."""
    module, _, leaf = theirs.rpartition(".")
    for pattern, layer, leaves in rows:
        match = re.fullmatch(pattern, module)
        if match and leaf in leaves:
            return f"{layer(match)}/{leaves[leaf]}"
    return None


def refuse_unsupported(names: Iterable[str], signs: Iterable[tuple[str, str]], source: str) -> None:
    """Raise WeightsError if a name belongs to a network this package does not have.

    Args:
        names: of the file.
        signs: (pattern to search for, what to say).
        source: the file, for messages.
    """
    names = list(names)
    for pattern, message in signs:
        sign = next((name for name in names if re.search(pattern, name)), None)
        if sign is not None:
            raise WeightsError(f"{source}: {message} (it has {sign})")


def lone_conv(ours: Mapping[str, str], layer: str) -> dict[str, str]:
    """`ours` with "…/conv1" renamed to "…/conv" where there is no second one, as the RPN names its convolutions."""
    if any(name.startswith(f"{layer}2/") for name in ours):
        return dict(ours)
    return {re.sub(rf"^{re.escape(layer)}1/", f"{layer}/", name): source for name, source in ours.items()}


class Conversion(NamedTuple):
    """How a variable comes about: from which arrays of the file, and how."""

    sources: tuple[str, ...]
    convert: Callable[..., np.ndarray]


class Converted(Mapping[str, StoredArray]):
    """Arrays by our variable names, in our layouts; made anew whenever their values are asked for.

    Args:
        arrays: the file's arrays by name: NumPy arrays or stored ones.
        conversions: by our name.
        ignored: pattern of names in the file that are no weights of a model (counters, an optimizer's state).
    """

    def __init__(self, arrays: Mapping[str, Any], conversions: Mapping[str, Conversion], ignored: str) -> None:
        self._arrays, self._conversions = arrays, dict(conversions)
        self._made: dict[str, StoredArray] = {}
        used = {source for conversion in conversions.values() for source in conversion.sources}
        skip = re.compile(ignored)
        self.unused: tuple[str, ...] = tuple(n for n in arrays if n not in used and not skip.search(n))
        """Names in the file that became none of our variables."""

    def __getitem__(self, name: str) -> StoredArray:
        if name not in self._made:
            sources, convert = self._conversions[name]
            arrays = [self._arrays[source] for source in sources]
            # The conversion of an array of the same shape that takes no memory tells the shape of the result.
            shape = convert(*(np.broadcast_to(np.float32(0), array.shape) for array in arrays)).shape
            values = lambda: convert(*(np.asarray(array, np.float32) for array in arrays))  # noqa: E731
            self._made[name] = StoredArray(shape, np.float32, values)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._conversions)

    def __len__(self) -> int:
        return len(self._conversions)

    def source_of(self, name: str) -> tuple[str, ...]:
        """Names in the file from which our variable `name` is made; empty for a constant or an unknown name."""
        return self._conversions[name].sources if name in self._conversions else ()


def convert_all(
    arrays: Mapping[str, Any],
    ours: Mapping[str, str],
    network: Network,
    background: Literal["first", "last"],
    ignored: str,
    first_steps: Mapping[str, Callable[[np.ndarray], np.ndarray]] | None = None,
) -> Converted:
    """Every array that has one of our names, turned into our layout.

    Args:
        arrays: of the file.
        ours: our variable name -> name in the file.
        network: of the file.
        background: where class scores have their background; with "first", boxes and masks have one too.
        ignored: see `Converted`.
        first_steps: what is done to some arrays before that, by our name.
    """
    first = {} if first_steps is None else first_steps
    conversions = {
        name: Conversion((source,), _conversion(name, arrays[source].shape, network, background, first.get(name)))
        for name, source in ours.items()
    }
    for name, source in ours.items():  # a norm that is a scale and a shift only
        stem = name.removesuffix("gamma")
        if stem != name and _norm_of(name, network) not in ("gn", "ln", "none") and f"{stem}moving_mean" not in ours:
            epsilon = network["backbone.epsilon"]
            conversions[f"{stem}moving_mean"] = Conversion((source,), np.zeros_like)
            conversions[f"{stem}moving_variance"] = Conversion(
                (source,), lambda gamma, value=1.0 - epsilon: np.full_like(gamma, value)
            )
    return Converted(arrays, conversions, ignored)


def _norm_of(name: str, network: Network) -> NormKind:
    component = name.split("/")[0]
    field = {
        "fpn": "neck.norm",
        "box_head": "box_head.conv_norm",
        "mask_head": "mask_head.conv_norm",
        "semantic_head": "semantic_head.norm",
    }.get(component)
    return network.overrides.get(field or "backbone.norm", network["backbone.norm"])


def _conversion(
    name: str,
    shape: tuple[int, ...],
    network: Network,
    background: str,
    first_step: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Callable[[np.ndarray], np.ndarray]:
    layer, leaf = name.rsplit("/", 1)
    is_agnostic = network.overrides.get("mask_head.class_agnostic", False)  # one mask for all classes
    steps: list[Callable[[np.ndarray], np.ndarray]] = [] if first_step is None else [first_step]
    if layer.startswith("box_head") and layer.endswith("/class_logits") and background == "last":
        steps.append(lambda x: np.concatenate([x[-1:], x[:-1]]))
    elif layer.startswith("box_head") and layer.endswith("/deltas"):
        steps.append(lambda x: _box_deltas(x[4:] if background == "first" else x))
    elif layer == "rpn/deltas":
        steps.append(lambda x: x.reshape(-1, 4, *x.shape[1:])[:, _YX].reshape(x.shape))
    elif layer == "mask_head/mask_logits" and background == "first" and not is_agnostic:
        steps.append(lambda x: x[1:])
    if leaf == "kernel":
        if layer.endswith("_depthwise"):  # (channels, 1, h, w) -> (h, w, channels, 1)
            steps.append(lambda x: x.transpose(2, 3, 0, 1))
        elif (
            len(shape) == 4
        ):  # (out, in, h, w) -> (h, w, in, out), and a transposed one's (in, out, h, w) -> (h, w, out, in)
            steps.append(lambda x: x.transpose(2, 3, 1, 0))
        elif len(shape) == 2 and layer.startswith("box_head") and layer.endswith("/fc1"):
            steps.append(functools.partial(first_dense, side=network["box_head.pool.size"]))
        elif len(shape) == 2:
            steps.append(np.transpose)

    def convert(x: np.ndarray) -> np.ndarray:
        for step in steps:
            x = step(x)
        return x

    return convert


def _box_deltas(x: np.ndarray) -> np.ndarray:
    """Rows (class, x y w h) to rows (y x h w, class)."""
    rows = x.reshape(-1, 4, *x.shape[1:])[:, _YX]  # [C, 4, ...]
    return rows.swapaxes(0, 1).reshape(x.shape)


def first_dense(x: np.ndarray, side: int) -> np.ndarray:
    """(out, channels x side x side) to (side x side x channels, out), as features are flattened here."""
    out, width = x.shape
    return x.reshape(out, width // side**2, side, side).transpose(2, 3, 1, 0).reshape(width, out)
