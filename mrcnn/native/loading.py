"""The compiled ops: located, checked, loaded, given their gradients; or the reason why the pure-TensorFlow path runs.

Nothing here is needed for a result: `mrcnn.ops.roi_align`, `ops.deformable_conv` and `ops.rotated_roi_align` ask
`choose()` for the loaded ops and compute the same numbers without them. What decides, in this order:

    replaced_by(f)              inside it, f pools from each level, as a format to export to can; the others' pure path
    stock_ops()                 inside it, the pure path: what is exported must run without this package
    XLA                         the pure path: XLA compiles no custom op
    MRCNN_ROI_ALIGN=python      the pure path
    MRCNN_ROI_ALIGN=op          the op, or an error that says why it cannot be had
    otherwise                   the op if there is one for this TensorFlow, else the pure path after one warning

On a GPU, `tf.config.experimental.enable_op_determinism` keeps those that add atomically from running. The ops are built
by `mrcnn build-ops`, see `mrcnn.native.build`.
"""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import dataclasses
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import tensorflow as tf

from mrcnn.errors import InputError
from mrcnn.native.gradients import register_gradients
from mrcnn.native.sources import BuildError, cache_dir, current_identity
from mrcnn.native.stamp import Stamp, StampError, read_stamp
from mrcnn.native.trust import why_not_trusted

Tensor: TypeAlias = tf.Tensor

logger = logging.getLogger("mrcnn")

VARIABLE = "MRCNN_ROI_ALIGN"
MAX_LEVELS = 8


@dataclasses.dataclass(frozen=True)
class OpState:
    """The loaded ops, or why there are none."""

    library: Any | None  # module of the ops
    path: Path | None  # where the library lies or would lie; None where that cannot be said
    stamp: Stamp | None
    reason: str  # "" where the ops are loaded


_lock = threading.RLock()
_state: OpState | None = None
_warned = False
_stock_depth = 0


def state() -> OpState:
    """The ops, loaded on the first call; whatever is wrong with them is a reason, never an exception."""
    global _state
    with _lock:
        if _state is None:
            _state = _load()
        return _state


def _load() -> OpState:
    try:
        identity = current_identity()
    except BuildError as error:
        return OpState(None, None, None, str(error))
    path = cache_dir() / identity.filename
    try:
        if not path.is_file():
            return OpState(None, path, None, _why_missing(path))
        if (reason := why_not_trusted(path)) is not None:  # before anything of it is believed, its stamp included
            return OpState(None, path, None, f"{path} is not used: {reason}")
        stamp = read_stamp(path)
    except (OSError, StampError) as error:
        return OpState(None, path, None, f"{path} is not used: {getattr(error, 'strerror', None) or error}")
    if stamp.identity != identity:
        return OpState(None, path, stamp, f"{path} does not fit: {_difference(stamp, identity)}")
    gpus = tf.config.get_visible_devices("GPU")
    if gpus and not stamp.cuda:
        return OpState(None, path, stamp, f"{path} was built without CUDA, and TensorFlow sees {len(gpus)} GPU(s)")
    try:
        library = tf.load_op_library(str(path))
    except (tf.errors.OpError, RuntimeError, OSError) as error:
        return OpState(None, path, stamp, f"{path} cannot be loaded: {str(error).splitlines()[0]}")
    if gpus and (problem := _cuda_problem(path)):
        return OpState(None, path, stamp, f"the CUDA kernels of {path} cannot run here: {problem}")
    register_gradients(library)
    return OpState(library, path, stamp, "")


def _why_missing(path: Path) -> str:
    """Nothing built yet, or built for something else: an upgraded TensorFlow, another version of this package."""
    others = sorted(path.parent.glob("*-tf*.so")) if path.parent.is_dir() else []
    for other in others:
        with contextlib.suppress(OSError, StampError):
            return f"{other} does not fit: {_difference(read_stamp(other), current_identity())}"
    return f"the op is not built ({path} is not there)"


def _difference(stamp: Stamp, identity: Any) -> str:
    names = {
        "tensorflow": "TensorFlow",
        "cxx_abi": "C++ ABI",
        "machine": "machine",
        "sources": "sources",
    }
    for field, name in names.items():
        built, here = getattr(stamp.identity, field), getattr(identity, field)
        if built != here:
            return f"it was built for {name} {str(built)[:12]}, here is {str(here)[:12]}"
    return "it was built for this"


def _cuda_problem(path: Path) -> str | None:
    try:
        problem = ctypes.CDLL(str(path)).mrcnn_cuda_problem
    except (OSError, AttributeError) as error:
        return str(error)
    problem.restype = ctypes.c_char_p
    said = problem()
    return said.decode(errors="replace") if said else None


@contextlib.contextmanager
def stock_ops() -> Iterator[None]:
    """Inside, RoIAlign is made of TensorFlow's own operations, in every thread: for whatever is traced to be exported.

    Functions traced before keep what they were traced with.
    """
    global _stock_depth
    with _lock:
        _stock_depth += 1
    try:
        yield
    finally:
        with _lock:
            _stock_depth -= 1


LevelAlign = Callable[[Tensor, Tensor, Tensor, int, tuple[int, int], int, bool], Tensor]
"""RoIAlign on one level: features [B, H, W, C], boxes f32[N, 4] in pixels of the padded image, the image i32[N]
each lies in, the level's stride, bins (h, w), sampling_ratio, aligned -> f32[N, h, w, C]."""

_replacement: contextvars.ContextVar[LevelAlign | None] = contextvars.ContextVar("roi_align_replacement", default=None)


@contextlib.contextmanager
def replaced_by(align: LevelAlign) -> Iterator[None]:
    """Inside, in this thread, RoIAlign of a level is what `align` makes: for formats that have an operator for it."""
    token = _replacement.set(align)
    try:
        yield
    finally:
        _replacement.reset(token)


def replacement() -> LevelAlign | None:
    """What `replaced_by` says here and now."""
    return _replacement.get()


def _in_xla() -> bool:
    """Whether the function being traced will be compiled by XLA."""
    if tf.executing_eagerly():
        return False
    try:
        from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

        return bool(GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph()))
    except (ImportError, AttributeError):
        return False  # unknown: XLA itself refuses what it cannot compile


def _is_deterministic_gpu() -> bool:
    try:
        from tensorflow.python.framework.config import is_op_determinism_enabled
    except ImportError:
        return False
    return bool(is_op_determinism_enabled() and tf.config.list_physical_devices("GPU"))


def choose(features: Sequence[Tensor], what: str = "RoIAlign") -> Any | None:
    """The loaded ops if they are to be used here and now, else None; see the head of this module.

    Args:
        features: the levels; the ops take at most MAX_LEVELS, of float32, float16 or bfloat16.
        what: asks; for the warning, of which a process gets one. Only RoIAlign has sums in one order on a GPU.

    Raises:
        InputError: MRCNN_ROI_ALIGN is neither "op" nor "python".
        BuildError: it is "op", and the op cannot be loaded.
    """
    global _warned
    wanted = os.environ.get(VARIABLE, "")
    if wanted not in ("", "op", "python"):
        raise InputError(f'{VARIABLE}: expected "op" or "python", got {wanted!r}')
    if wanted == "python" or _stock_depth > 0 or replacement() is not None or _in_xla():
        return None
    if len(features) > MAX_LEVELS or tf.as_dtype(features[0].dtype) not in (tf.float32, tf.float16, tf.bfloat16):
        return None
    if what != "RoIAlign" and _is_deterministic_gpu():
        return None
    current = state()
    if current.library is None:
        if wanted == "op":
            raise BuildError(f"{VARIABLE}=op, but {current.reason}; `mrcnn build-ops` builds the op")
        with _lock:
            warn, _warned = not _warned, True
        if warn:
            logger.warning(
                "%s runs in pure TensorFlow, slower with the same results, because %s. `mrcnn build-ops` builds "
                "the op; %s=python is silent.",
                what[0].upper() + what[1:],
                current.reason,
                VARIABLE,
            )
    return current.library


def require() -> Any:
    """The loaded ops.

    Raises:
        BuildError: there are none; says why.
    """
    current = state()
    if current.library is None:
        raise BuildError(f"the compiled ops cannot be used: {current.reason}; `mrcnn build-ops` builds them")
    return current.library


def image_index(boxes: Tensor, valid: Tensor | None) -> Tensor:
    """The image of each RoI, or -1 for RoIs that give zeros: those not valid and those not finite.

    Args:
        boxes: f32[B, S, 4].
        valid: bool[B, S] or None: all.

    Returns:
        i32[B * S].
    """
    usable = tf.reduce_all(tf.math.is_finite(boxes), axis=-1)  # [B, S]
    if valid is not None:
        usable &= valid
    index = tf.where(usable, tf.range(tf.shape(boxes)[0])[:, tf.newaxis], -1)
    return tf.reshape(index, [-1])


def multilevel_roi_align(
    library: Any,
    features: Sequence[Tensor],
    boxes: Tensor,
    strides: Sequence[int],
    output_size: tuple[int, int],
    sampling_ratio: int,
    aligned: bool,
    valid: Tensor | None,
    canonical_level: int,
    canonical_size: float,
    level_rule: str,
    level_epsilon: float,
    end_offset: float,
) -> Tensor:
    """`mrcnn.ops.roi_align.multilevel_roi_align` by the op; see there.

    Args:
        library: the loaded ops.

    Returns:
        [B, S, h, w, C] in the dtype of the features.
    """
    boxes = tf.stop_gradient(tf.cast(boxes, tf.float32))
    height, width = output_size
    pooled = library.mrcnn_multilevel_roi_align(
        features=list(features),
        boxes=tf.reshape(boxes, [-1, 4]),
        box_index=image_index(boxes, valid),
        crop_height=height,
        crop_width=width,
        spatial_scales=[1.0 / stride for stride in strides],
        min_level=int(strides[0]).bit_length() - 1,
        sampling_ratio=sampling_ratio,
        aligned=aligned,
        level_rule=level_rule,
        level_epsilon=level_epsilon,
        canonical_size=canonical_size,
        canonical_level=canonical_level,
        end_offset=end_offset,
        validate=False,  # image_index() has refused what would be refused, and a GPU need not be waited for
    )  # [B * S, h, w, C]
    shape = tf.shape(boxes)
    pooled = tf.reshape(pooled, [shape[0], shape[1], height, width, features[0].shape[-1]])
    return tf.ensure_shape(pooled, [*boxes.shape[:2], height, width, features[0].shape[-1]])
