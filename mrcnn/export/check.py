"""What is checked before an exported file gets its name: its suffix, and that its detections are the model's."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mrcnn.errors import InputError
from mrcnn.export.compare import Difference, compare, full_precision
from mrcnn.export.errors import ExportError
from mrcnn.inference import ImageLike, detect
from mrcnn.ops.box_geometry import ALIGNED
from mrcnn.preprocessing import InputConfig


def expect_suffix(path: str | os.PathLike[str], suffix: str) -> Path:
    """The path.

    Raises:
        InputError: it does not end in `suffix`.
    """
    path = Path(path)
    if path.suffix != suffix:
        raise InputError(f"{path}: expected a file name that ends in {suffix}")
    return path


def expect_axis_aligned(model: Any) -> None:
    """Refuse a model of rotated boxes.

    Raises:
        ExportError: names the field of the config.
    """
    rpn = getattr(model.config, "rpn", None)  # what is like a model need not have one
    if rpn is not None and rpn.geometry is not ALIGNED:
        raise ExportError(
            f"model.rpn is {type(rpn).__name__}: exported models give boxes (y1, x1, y2, x2) and masks in them,"
            " expected RPNConfig; call mrcnn.detect for rotated boxes"
        )


def expect_file(path: str | os.PathLike[str]) -> Path:
    """The path.

    Raises:
        ExportError: there is no file of this name.
    """
    path = Path(path)
    if not path.is_file():
        raise ExportError(f"{path}: no such file")
    return path


def noise(config: InputConfig, num: int = 2, size: tuple[int, int] | None = None) -> list[np.ndarray]:
    """Colored noise and a blank image, to compare detections on where the caller gives no images.

    Args:
        config: of the model's input.
        num: images of noise.
        size: (height, width); None: what the model resizes to.
    """
    rng = np.random.default_rng(0)
    height, width = size or (config.short_side, min(config.long_side, config.short_side * 5 // 4))
    coarse = rng.integers(0, 256, (num, height // 16 + 1, width // 16 + 1, 3)).astype(np.uint8)
    images = np.repeat(np.repeat(coarse, 16, 1), 16, 2)[:, :height, :width]
    return [*images, np.full((height, width, 3), 127, np.uint8)]


def check_answers(
    model: Any,
    exported: Any,
    images: Iterable[ImageLike] | None,
    bounds: Difference,
    runtime: str = "the runtime",
) -> Difference:
    """How the exported model's detections differ from the model's.

    Args:
        model: a `MaskRCNN`.
        exported: the model as it was loaded from its file; what `detect` takes.
        images: to compare on; None: noise, and a blank image.
        bounds: largest differences accepted.
        runtime: name of what runs the file, for messages.

    Raises:
        ExportError: by more than `bounds`; or `runtime` loads the model and cannot run it.
    """
    images = noise(model.config.input) if images is None else list(images)
    with full_precision():
        expected = detect(model, images, score_threshold=None)
    try:
        result = detect(exported, images, score_threshold=None)
    except tf.errors.UnknownError as error:  # what a RuntimeError of the runtime becomes in TensorFlow's hands
        own_words = error.message.split("RuntimeError: ", 1)[-1].split("Traceback")[0]
        raise ExportError(f"not exported, {runtime} cannot run it: {' '.join(own_words.split())}") from error
    difference = compare(expected, result)
    expect_within(bounds, difference)
    return difference


def expect_within(bounds: Difference, difference: Difference) -> None:
    """Raises ExportError if the detections are too far from the model's."""
    if beyond := difference.beyond(bounds):
        raise ExportError(
            f"not exported, its detections differ too much from the model's: {'; '.join(beyond)}; {difference}"
        )
