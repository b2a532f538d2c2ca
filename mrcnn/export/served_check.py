"""A SavedModel's results as `Instances`, and their comparison with the model's, request by request."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from mrcnn.errors import InputError
from mrcnn.export.check import noise
from mrcnn.export.compare import Difference, compare
from mrcnn.export.served import Limits, Masks
from mrcnn.inference import ImageLike, detect, load_image, make_instances
from mrcnn.structures.instances import Instances
from mrcnn.structures.masks import paste_masks
from mrcnn.structures.outputs import STANDARD, HeadOutput

COMPARED = 8
"""Images that an export is compared on, at most: each runs four times."""

_WARM_UP = 4, 32_000_000
"""Requests of each signature to warm up with, and their bytes, unless there is only one; the smallest are taken."""


def read_images(images: Iterable[ImageLike], limits: Limits) -> list[np.ndarray]:
    """u8[h, w, 3] of the first few of what `detect` takes."""
    arrays = []
    for number, image in enumerate(itertools.islice(images, COMPARED)):
        name = os.fspath(image) if isinstance(image, (str, os.PathLike)) else f"image {number}"
        pixels = load_image(image, number)
        if not limits.allow(*pixels.shape[:2]):
            raise InputError(f"{name}: {pixels.shape[0]} x {pixels.shape[1]} pixels are beyond the limits: {limits}")
        arrays.append(pixels)
    return arrays


def noise_images(model: Any, limits: Limits, height: int | None, width: int | None) -> list[np.ndarray]:
    """Noise of two shapes, near the size the model resizes to and within the limits, and a blank image."""
    side = model.config.input.short_side

    def fit(h: int, w: int) -> tuple[int, int]:
        """The sides that were fixed, and such others as the limits allow."""
        h, w = height or max(h, limits.min_side), width or max(w, limits.min_side)
        shrink = min(1.0, math.sqrt(limits.max_pixels / (h * w)))
        most = limits.max_pixels // (width or limits.min_side)
        h = height or min(max(int(h * shrink), limits.min_side), most)
        return h, width or min(max(int(w * shrink), limits.min_side), limits.max_pixels // h)

    wide, high = fit(side, side * 5 // 4), fit(side * 3 // 4 + 1, side // 2 + 1)
    return [*noise(model.config.input, 1, wide), *noise(model.config.input, 1, high)[:1]]


Request = tuple[str, dict[str, np.ndarray], list[np.ndarray]]
"""Signature, inputs, and the images they were made of."""


def requests_of(fits: Sequence[np.ndarray], images: Sequence[np.ndarray], limits: Limits) -> list[Request]:
    """Every image through each signature, and where `serving_default` takes it, alone and with others."""
    requests: list[Request] = [("serving_default", pixel_inputs([image]), [image]) for image in fits]
    for batch in batches_of(images, limits):
        files = {"image_bytes": np.array([encode_png(p) for p in batch], object)}
        requests += [("encoded", files, batch), ("compact", files | everything(len(batch)), batch)]
    together = next(iter(batches_of(fits, limits)), [])
    if len(together) > 1:
        requests.append(("serving_default", pixel_inputs(together), together))
    return requests


def batches_of(images: Sequence[np.ndarray], limits: Limits) -> list[list[np.ndarray]]:
    """Neighbors, up to four that a request may hold."""
    batches: list[list[np.ndarray]] = []
    room = 0
    for image in images:
        pixels = image.shape[0] * image.shape[1]
        if pixels > room or len(batches[-1]) == min(limits.max_batch_size, 4):
            batches.append([])
            room = limits.request_pixels
        batches[-1].append(image)
        room -= pixels
    return batches


def pixel_inputs(images: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """The inputs of `serving_default` for images u8[h, w, 3] of any sizes."""
    shape = np.array([image.shape[:2] for image in images], np.int32)
    canvases = np.zeros((len(images), *shape.max(axis=0), 3), np.uint8)
    for canvas, image in zip(canvases, images, strict=True):
        canvas[: image.shape[0], : image.shape[1]] = image
    return {"image": canvases, "shape": shape}


def everything(num: int) -> dict[str, np.ndarray]:
    """The inputs of `compact` that leave no detection out, for so many images."""
    return {
        "score_threshold": np.zeros(num, np.float32),
        "max_detections": np.full(num, np.iinfo(np.int32).max, np.int32),
    }


def encode_png(image: np.ndarray) -> bytes:
    """A PNG file of u8[h, w, 3]."""
    return tf.io.encode_png(image).numpy()


def to_warm_up(requests: Sequence[Request]) -> list[tuple[str, dict[str, np.ndarray]]]:
    """Requests of all signatures, for a file that should not grow large: signatures and inputs."""
    most, most_bytes = _WARM_UP

    def size(request: Request) -> int:
        return sum(image.nbytes for image in request[2])

    chosen: list[Request] = []
    for signature in ("serving_default", "encoded", "compact"):
        smallest = sorted((request for request in requests if request[0] == signature), key=size)[:most]
        total = itertools.accumulate(map(size, smallest))
        chosen += [
            request
            for i, (request, sum_) in enumerate(zip(smallest, total, strict=True))
            if not i or sum_ <= most_bytes
        ]
    return [(signature, inputs) for signature, inputs, _ in chosen]


def served_instances(
    outputs: Mapping[str, np.ndarray],
    shapes: Sequence[tuple[int, int]],
    masks: Masks | Literal["rle"] = "small",
    mask_threshold: float = 0.5,
    declared: Sequence[HeadOutput] = STANDARD,
) -> list[Instances]:
    """The answer of an exported model as `detect` would give it, one `Instances` an image.

    Args:
        outputs: of a signature, as arrays.
        shapes: (height, width) of each image.
        masks, mask_threshold: what was exported; "rle" of the signature `compact`.
        declared: what the outputs of the heads are (`MaskRCNNConfig.outputs`); those absent are left out.
    """
    results = []
    for i, (height, width) in enumerate(shapes):
        num = int(outputs["num_detections"][i])
        kept = {name: value[i, :num] for name, value in outputs.items() if name not in ("num_detections", "size")}
        values, present = {}, [output for output in declared if output.name in kept]
        for output in present:
            values[output.name] = value = kept[output.name]
            if output.paste is None:
                continue
            if masks == "rle":
                value = _decoded(value, height, width)
            if masks == "packed":
                value = np.unpackbits(value, axis=-1)
            if masks == "small":
                boxes = kept[output.boxes_name]
                value = paste_masks(value, boxes, height, width, mask_threshold, output.paste.convention)
            values[output.name] = value[:, :height, :width].astype(bool)
        results.append(
            make_instances(kept["boxes"], kept["class_ids"], (height, width), kept["scores"], values, present)
        )
    return results


def _decoded(strings: np.ndarray, height: int, width: int) -> np.ndarray:
    """bool[n, height, width] of strings of run lengths."""
    from pycocotools import mask as coco_mask

    size = [height, width]
    masks = [coco_mask.decode({"size": size, "counts": counts}).astype(bool) for counts in strings]
    return np.stack(masks) if masks else np.zeros((0, height, width), bool)


def compare_served(
    model: Any,
    signatures: Mapping[str, Any],
    requests: Sequence[Request],
    masks: Masks,
    mask_threshold: float,
    score_threshold: float | None,
) -> Difference:
    expected: dict[int, Instances] = {}
    here, there = [], []
    for signature, inputs, images in requests:
        outputs = signatures[signature](**{name: tf.constant(value) for name, value in inputs.items()})
        outputs = {name: value.numpy() for name, value in outputs.items()}
        shapes = [image.shape[:2] for image in images]
        kind: Masks | Literal["rle"] = "rle" if signature == "compact" else masks
        results = served_instances(outputs, shapes, kind, mask_threshold, model.config.outputs)
        for image, instances in zip(images, results, strict=True):
            if not np.ptp(image, axis=(0, 1)).any():  # every place is like every other: rounding chooses among them
                continue
            there.append(instances)
            if id(image) not in expected:
                (expected[id(image)],) = detect(
                    model, image, score_threshold=score_threshold, mask_threshold=mask_threshold
                )
            here.append(expected[id(image)])
    return compare(here, there)
