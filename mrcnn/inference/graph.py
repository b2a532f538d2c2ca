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

Run = Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]

_graphs: weakref.WeakKeyDictionary[Any, dict[str, Run]] = weakref.WeakKeyDictionary()
_graphs_lock = threading.Lock()


def graph_of(model: Any) -> Run:
    """The model as one traced function of any batch size and image size, kept as long as the model lives.

    It computes in the precision that the model has now. Where that is to be checked, the first batches run in float32
    as well.
    """
    with _graphs_lock:
        if not is_unchecked(model):
            return _graph(model)
        low: Any = _graph(model)
        low.get_concrete_function()  # now: what is traced later would be in the precision of then
        with in_precision(model, "float32"):
            reference: Any = _graph(model)
            reference.get_concrete_function()
        return CheckedRun(model, low, reference)


def _graph(model: Any) -> Run:
    graphs = _graphs.setdefault(model, {})
    precision = precision_of(model)
    if precision not in graphs:
        alive = weakref.ref(model)  # the function must not keep its own key alive

        def forward(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            own: Any = alive()
            return dict(own(batch, training=False))

        graphs[precision] = tf.function(forward, input_signature=[image_spec(model.config.input)], autograph=False)
    return graphs[precision]


def refuse_rotated(model: Any, function: str) -> None:
    """Refuse a model of rotated boxes where only axis-aligned ones can be joined.

    Raises:
        InputError: names the function and the field of the config.
    """
    rpn = getattr(model.config, "rpn", None)  # what an export is loaded as has none
    if rpn.geometry is not ALIGNED:
        raise InputError(
            f"{function}: model.rpn is {type(rpn).__name__}, whose rotated boxes it cannot join; call mrcnn.detect"
        )


def run_batch(run: Run, batch: list[Prepared]) -> dict[int, tuple[Prepared, dict[str, np.ndarray]]]:
    """Each image of a batch (its pixels dropped) and its detections in the padded frame, by number."""
    output = {name: value.numpy() for name, value in run(make_batch(batch)).items()}
    resized = {}
    for i, item in enumerate(batch):
        own = {name: value[i][output["valid"][i]] for name, value in output.items()}  # copies: no other's are held
        resized[item.number] = (dataclasses.replace(item, image=None), own)
    return resized
