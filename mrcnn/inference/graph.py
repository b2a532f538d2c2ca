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
from mrcnn.modeling.input import content_window
from mrcnn.modeling.precision import in_precision, is_unchecked, precision_of
from mrcnn.ops.box_geometry import ALIGNED
from mrcnn.ops.feature_pooling import pool_features
from mrcnn.structures.tensors import POOLED_FEATURES, SEMANTIC_LOGITS

Run = Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]

_graphs: weakref.WeakKeyDictionary[Any, dict[tuple[str, str | None], Run]] = weakref.WeakKeyDictionary()
"""The functions of a model by its precision and what they give beside detections."""
_OF_IMAGES = (SEMANTIC_LOGITS, POOLED_FEATURES)
"""What is one value an image, not one a detection."""
_graphs_lock = threading.Lock()


def graph_of(model: Any, extra: str | None = None) -> Run:
    """The model as one traced function of any batch size and image size, kept as long as the model lives.

    It computes in the precision that the model has now. Where that is to be checked, the first batches run in float32
    as well.

    Args:
        model: a `MaskRCNN` or what is called like one.
        extra: what is wanted beside detections, else not computed: `SEMANTIC_LOGITS` of a panoptic model, or
            `POOLED_FEATURES`, see `ops.feature_pooling`.
    """
    with _graphs_lock:
        if not is_unchecked(model):
            return _graph(model, extra)
        low: Any = _graph(model, extra)
        low.get_concrete_function()  # now: what is traced later would be in the precision of then
        with in_precision(model, "float32"):
            reference: Any = _graph(model, extra)
            reference.get_concrete_function()
        return CheckedRun(model, low, reference)


def _graph(model: Any, extra: str | None) -> Run:
    graphs = _graphs.setdefault(model, {})
    key = precision_of(model), extra
    if key not in graphs:
        alive = weakref.ref(model)  # the function must not keep its own key alive

        def forward(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            own: Any = alive()
            if extra == POOLED_FEATURES:
                features = own.extract_features(batch, training=False)
                side = tf.shape(batch["image"])[1:3]
                window = content_window(side, batch["content_shape"], own.config.input)
                pooled = pool_features(features, window, side)
                return own.detect_in(features, batch, training=False) | {POOLED_FEATURES: pooled}
            outputs = own(batch, training=False).items()
            return {name: value for name, value in outputs if name == extra or name != SEMANTIC_LOGITS}

        graphs[key] = tf.function(forward, input_signature=[image_spec(model.config.input)], autograph=False)
    return graphs[key]


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

    Semantic logits f32[h, w, S + 1] and pooled features f32[n] stay whole.
    """
    output = {name: value.numpy() for name, value in run(make_batch(batch)).items()}
    resized = {}
    for i, item in enumerate(batch):
        valid = output["valid"][i]
        own = {  # copies: no other image's are held
            name: value[i].copy() if name in _OF_IMAGES else value[i][valid] for name, value in output.items()
        }
        resized[item.number] = (dataclasses.replace(item, image=None), own)
    return resized
