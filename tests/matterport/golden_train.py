"""`mp_train_r50.npz`: what matterport's own training computes, and its inputs as lists of `data_generator`."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from mrcnn import model as modellib
from mrcnn.config import Config
from tests.reference.drawn_weights import draw_keras

ASSETS = Path(__file__).parent.parent / "assets" / "golden"


@functools.cache
def values() -> dict[str, np.ndarray]:
    """Every array of the file, by name."""
    with np.load(ASSETS / "mp_train_r50.npz") as file:
        return {name: file[name] for name in file.files}


@functools.cache
def meta() -> dict:
    """What the file says of its making."""
    return json.loads(str(values()["meta"]))


def config() -> Config:
    """The `Config` that matterport ran with."""
    made = type("GoldenConfig", (Config,), {"NAME": "golden", "BACKBONE": "resnet50", **meta()["config"]})()
    made.MINI_MASK_SHAPE = tuple(made.MINI_MASK_SHAPE)
    return made


def state() -> dict[str, np.ndarray]:
    """The random weights, by "layer/leaf"."""
    return {name: draw_keras(name, shape, seed=meta()["seed"]) for name, shape in meta()["state"].items()}


def write_weights(path: Path) -> Path:
    """The weights as Keras 2 wrote them."""
    layers: dict[str, list[str]] = {}
    for name in meta()["state"]:
        layers.setdefault(name.split("/")[0], []).append(name)
    arrays = state()
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.encode() for layer in layers]
        for layer, names in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [f"{name}:0".encode() for name in names]
            for name in names:
                group.create_dataset(f"{name}:0", data=arrays[name])
    return path


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file that `save_weights` wrote, by "layer/leaf"."""
    result: dict[str, np.ndarray] = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            result["/".join(name.removesuffix(":0").split("/")[-2:])] = item[()]

    with h5py.File(path) as file:
        file.visititems(visit)
    return result


def inputs() -> list[np.ndarray]:
    """The lists that one training step took."""
    golden, config_lines = values(), config()
    y1, x1, y2, x2 = golden["window_yxyx"]
    image = np.zeros((256, 256, 3), np.uint8)
    resized = np.asarray(Image.open(ASSETS / meta()["resized_picture"]))
    image[y1:y2, x1:x2] = resized
    classes = np.ones(config_lines.NUM_CLASSES, np.int32)
    shape = (int(resized.shape[0] / golden["scale"]), int(resized.shape[1] / golden["scale"]), 3)
    row = modellib.compose_image_meta(0, shape, image.shape, (y1, x1, y2, x2), float(golden["scale"]), classes)
    match = np.zeros((int(golden["anchors_count"]), 1), np.int32)
    match[golden["rpn_match_positive"]], match[golden["rpn_match_negative"]] = 1, -1
    deltas = np.zeros((256, 4), np.float32)
    deltas[: len(golden["rpn_bbox"])] = golden["rpn_bbox"]
    count, most = len(golden["gt_class_ids"]), config_lines.MAX_GT_INSTANCES
    masks = np.unpackbits(golden["gt_mini_masks_56x56x5"])[: 56 * 56 * 5].reshape(56, 56, 5).astype(bool)
    return [
        x[np.newaxis]
        for x in (
            modellib.mold_image(image.astype(np.float32), config_lines),
            row,
            match,
            deltas,
            np.pad(golden["gt_class_ids"], (0, most - count)),
            np.pad(golden["gt_boxes_yxyx"], ((0, most - count), (0, 0))),
            np.pad(masks, ((0, 0), (0, 0), (0, most - count))),
            golden["input_rois_yxyx"],
        )
    ]
