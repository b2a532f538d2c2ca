"""A model as one traced function of any batch and image size, and a batch of images through it."""

from __future__ import annotations

import dataclasses
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from mrcnn.errors import InputError
from mrcnn.inference.agreement import CheckedRun
from mrcnn.inference.prepare import Prepared, image_spec, make_batch
from mrcnn.modeling.precision import in_precision, is_unchecked, precision_of
from mrcnn.ops.box_geometry import ALIGNED
from mrcnn.structures.tensors import SEMANTIC_LOGITS

Run = Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]

_graphs: weakref.WeakKeyDictionary[Any, dict[str, Run]] = weakref.WeakKeyDictionary()
_panoptic_graphs: weakref.WeakKeyDictionary[Any, dict[str, Run]] = weakref.WeakKeyDictionary()
_graphs_lock = threading.Lock()


def graph_of(model: Any, semantic: bool = False) -> Run:
    """The model as one traced function of any batch size and image size, kept as long as the model lives.

    It computes in the precision that the model has now. Where that is to be checked, the first batches run in float32
    as well.

    Args:
        model: a `MaskRCNN` or what is called like one.
        semantic: with the semantic logits of a panoptic model; else they are not computed.
    """
    with _graphs_lock:
        if not is_unchecked(model):
            return _graph(model, semantic)
        low: Any = _graph(model, semantic)
        low.get_concrete_function()  # now: what is traced later would be in the precision of then
        with in_precision(model, "float32"):
            reference: Any = _graph(model, semantic)
            reference.get_concrete_function()
        return CheckedRun(model, low, reference)


def _graph(model: Any, semantic: bool) -> Run:
    graphs = (_panoptic_graphs if semantic else _graphs).setdefault(model, {})
    precision = precision_of(model)
    if precision not in graphs:
        alive = weakref.ref(model)  # the function must not keep its own key alive

        def forward(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            own: Any = alive()
            outputs = own(batch, training=False).items()
            return {name: value for name, value in outputs if semantic or name != SEMANTIC_LOGITS}

        graphs[precision] = tf.function(forward, input_signature=[image_spec(model.config.input)], autograph=False)
    return graphs[precision]


def refuse_rotated(model: Any, function: str) -> None:
    """Refuse a model of rotated boxes where only axis-aligned ones can be joined.

    Raises:
        InputError: names the function and the field of the config.
    """
    rpn = getattr(model.config, "rpn", None)  # what an export is loaded as has none
    if rpn is not None and rpn.geometry is not ALIGNED:
        raise InputError(
            f"{function}: model.rpn is {type(rpn).__name__}, whose rotated boxes it cannot join; call mrcnn.detect"
        )


def run_batch(run: Run, batch: list[Prepared]) -> dict[int, tuple[Prepared, dict[str, np.ndarray]]]:
    """Each image of a batch (its pixels dropped) and its detections in the padded frame, by number.

    Semantic logits f32[h, w, S + 1] stay whole.
    """
    output = {name: value.numpy() for name, value in run(make_batch(batch)).items()}
    resized = {}
    for i, item in enumerate(batch):
        valid = output["valid"][i]
        own = {  # copies: no other image's are held
            name: value[i].copy() if name == SEMANTIC_LOGITS else value[i][valid] for name, value in output.items()
        }
        resized[item.number] = (dataclasses.replace(item, image=None), own)
    return resized
