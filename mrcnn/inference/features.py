"""Detections of images, and a vector of each image's features beside them, in one look at it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mrcnn.data.read_options import ReadOptions
from mrcnn.errors import InputError
from mrcnn.inference.graph import graph_of
from mrcnn.inference.prepare import MAX_PIXELS, Prepared
from mrcnn.inference.read_ahead import OnError, Reading
from mrcnn.inference.results import to_instances
from mrcnn.inference.sources import single_images
from mrcnn.inference.stream import run_stream
from mrcnn.structures.instances import Instances
from mrcnn.structures.tensors import POOLED_FEATURES


def detect_with_features(
    model: Any,
    images: Any,
    batch_size: int = 1,
    *,
    score_threshold: float | None = None,
    max_pixels: int | None = MAX_PIXELS,
    read_options: ReadOptions | None = None,
    on_error: OnError = "raise",
    progress: bool = False,
) -> Iterator[tuple[Instances, np.ndarray] | None]:
    """(instances, features f32[n]) of each image in turn; None for one that `on_error` skips.

    Args:
        model: a `MaskRCNN`.
        images, batch_size, score_threshold, max_pixels, read_options, on_error, progress: as for `mrcnn.detect`; the
            features are those of `ops.feature_pooling` on the levels of the neck.

    Raises:
        InputError: the model is an export, which hands out no features; else as `mrcnn.detect`.
        DataError: as `mrcnn.detect`.
    """
    if not hasattr(model, "extract_features"):
        raise InputError(f"{type(model).__name__}: hands out no features; expected a model of mrcnn.load_model")
    reading = Reading(model.config.input, max_pixels, read_options, on_error)

    def finish(item: Prepared, output: dict[str, np.ndarray]) -> tuple[Instances, np.ndarray]:
        features = output.pop(POOLED_FEATURES)
        instances = to_instances(
            output,
            item.content_shape,
            item.original_shape,
            score_threshold,
            origin=item.origin,
            config=model.config.input,
            outputs=model.config.outputs,
        )
        return instances, features

    return run_stream(graph_of(model, POOLED_FEATURES), single_images(images), batch_size, reading, finish, progress)
