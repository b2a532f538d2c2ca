"""A model as one traced function of any batch and image size, and a batch of images through it."""

from __future__ import annotations

import dataclasses
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from mrcnn.inference.prepare import Prepared, image_spec, make_batch

Run = Callable[[dict[str, tf.Tensor]], dict[str, tf.Tensor]]

_graphs: weakref.WeakKeyDictionary[Any, Run] = weakref.WeakKeyDictionary()
_graphs_lock = threading.Lock()


def graph_of(model: Any) -> Run:
    """The model as one traced function of any batch size and image size, kept as long as the model lives."""
    with _graphs_lock:
        if model not in _graphs:
            alive = weakref.ref(model)  # the function must not keep its own key alive

            def forward(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
                own: Any = alive()
                return dict(own(batch, training=False))

            _graphs[model] = tf.function(forward, input_signature=[image_spec(model.config.input)])
        return _graphs[model]


def run_batch(run: Run, batch: list[Prepared]) -> dict[int, tuple[Prepared, dict[str, np.ndarray]]]:
    """Each image of a batch (its pixels dropped) and its detections in the padded frame, by number."""
    output = {name: value.numpy() for name, value in run(make_batch(batch)).items()}
    resized = {}
    for i, item in enumerate(batch):
        own = {name: value[i][output["valid"][i]] for name, value in output.items()}  # copies: no other's are held
        resized[item.number] = (dataclasses.replace(item, image=None), own)
    return resized
