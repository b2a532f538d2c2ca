"""A golden file: values a reference implementation computed, and the checkpoint it computed them with."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import h5py
import numpy as np
import tensorflow as tf
from PIL import Image

from mrcnn import inference
from mrcnn.modeling.input import InputConfig
from mrcnn.weights.coco_classes import CATEGORIES
from tests.reference import scikit_image
from tests.reference.containers import write_torch_zip
from tests.reference.drawn_weights import draw, draw_keras

DATA = Path(__file__).parent / "data"
TAP_TOLERANCE = 1e-4  # ||ours - theirs|| / ||theirs||

# Rounding errors of scikit-image where mp_mask_r50 was computed, for the one size it has; the input stored there
# confirms them. What lies behind the input is compared from these bytes; what the package makes of the image, without
# knowing such errors, by `Golden.assert_input`.
SCIKIT_IMAGE_ERRORS = ((2.0**-51, -(2.0**-43)), (-(2.0**-52), -(2.0**-44)))


class Golden:
    """One file of tests/golden/data; see its README.md for what the keys hold."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.values = np.load(DATA / f"{name}.npz")
        self.meta = json.loads(str(self.values["meta"]))
        self.is_torchvision, self.is_matterport = name.startswith("tv_"), name.startswith("mp_")
        self.is_mmdetection = name.startswith("mm_")

    def __contains__(self, key: str) -> bool:
        return key in self.values.files

    def __getitem__(self, key: str) -> np.ndarray:
        return self.values[key]

    def image(self) -> np.ndarray:
        """u8[h, w, 3], RGB, as it was taken."""
        return np.asarray(Image.open(DATA / self.meta["image"]).convert("RGB"))

    def resized_image(self, config: InputConfig) -> np.ndarray | None:
        """u8[h, w, 3], the very bytes the reference was given after its own resize; None where it keeps fractions."""
        if "resized_picture" in self.meta:
            return np.asarray(Image.open(DATA / self.meta["resized_picture"]))
        if self.is_matterport:
            image = self.image()
            return scikit_image.resize(image, config.content_size(*image.shape[:2]), SCIKIT_IMAGE_ERRORS)
        return None

    def state(self) -> dict[str, np.ndarray]:
        """The random weights under the reference's names, in its layout."""
        draw_one = draw_keras if self.is_matterport else draw
        seed, gain = self.meta["seed"], self.meta["cls_gain"]
        more = {"gains": self.meta["gains"]} if "gains" in self.meta else {}
        return {
            name: draw_one(name, shape, seed=seed, cls_gain=gain, **more) for name, shape in self.meta["state"].items()
        }

    def write_checkpoint(self, folder: Path) -> Path:
        """The weights in the container the reference itself writes."""
        state = self.state()
        if self.is_matterport:
            path = folder / f"{self.name}.h5"
            with h5py.File(path, "w") as file:
                layers: dict[str, list[str]] = {}
                for name in state:
                    layers.setdefault(name.split("/")[0], []).append(name)
                file.attrs["layer_names"] = [layer.encode() for layer in layers]
                for layer, names in layers.items():
                    group = file.create_group(layer)
                    group.attrs["weight_names"] = [f"{name}:0".encode() for name in names]
                    for name in names:
                        group.create_dataset(f"{name}:0", data=state[name])
            return path
        if self.is_torchvision:
            path = folder / f"{self.name}.pth"
            write_torch_zip(path, state)
            return path
        if self.is_mmdetection:
            path = folder / f"{self.name}.pth"
            counters = {name: np.zeros(shape, np.int64) for name, (shape, _) in self.meta["other_state"].items()}
            meta = {"epoch": 12, "dataset_meta": {"classes": tuple(CATEGORIES.values())}}
            write_torch_zip(path, state | counters, {"meta": meta})
            return path
        path = folder / f"{self.name}.pkl"
        with path.open("wb") as file:
            more = {name: np.zeros(shape, dtype) for name, (shape, dtype) in self.meta.get("other_state", {}).items()}
            pickle.dump({"model": state | more, "__author__": "detectron2"}, file)
        return path

    def overrides(self) -> dict[str, str]:
        """What the reference's configuration changed that no array tells."""
        options = self.meta.get("opts") or []
        if "ROIPool" in options:
            return {"box_head.pool.op": "pool", "heads.0.pool.op": "pool"}
        return {}

    def sizes(self) -> dict[str, int]:
        """The sides the reference resized the image to."""
        config = self.meta.get("config")
        if self.is_matterport:
            return {"short_side": config["IMAGE_MIN_DIM"], "long_side": config["IMAGE_MAX_DIM"]}
        square = {"square_pad": self.meta["square_pad"]} if "square_pad" in self.meta else {}
        return {"short_side": self.meta["min_size"], "long_side": self.meta["max_size"], **square}

    def assert_input(self, ours: np.ndarray) -> None:
        """What the package makes of the image as it was taken, normalized and padded, against the reference's input.

        As `assert_tap`, except for matterport, whose resize cuts fractions of a gray level off: there values may
        differ by one gray level where the exact value is a whole one, at most 1 % of all. That nothing but such ties
        differs is shown by tests/ops/test_resize.py.
        """
        if not self.is_matterport:
            self.assert_tap("input", ours)
            return
        error = np.abs(np.asarray(ours, np.float64).ravel()[self["input/index"]] - self["input/value"])
        assert error.max() <= 1 + 1e-4, f"input: off by {error.max():.4f} gray levels"
        assert (error > 1e-4).mean() <= 0.01, f"input: {(error > 1e-4).mean():.2%} of the values differ"

    @staticmethod
    def level(key: str) -> str:
        """Our name of the map of a key: "features/res4", "bottom_up/p2" and "bottom_up/s3" are c4, "fpn/p2" is p2.

        A ViT's only map, "bottom_up/last_feat", is c4 too.
        """
        if key == "bottom_up/last_feat":
            return "c4"
        match = re.fullmatch(r"bottom_up/(p|s|scale)(\d)", key)
        if match:
            first = {"p": 0, "s": 1, "scale": 2}[match[1]]  # number of the map that is c2
            return f"c{int(match[2]) - first + 2}"
        return key.replace("fpn_", "fpn/").split("/")[1].replace("res", "c")

    def assert_tap(self, key: str, ours: np.ndarray) -> None:
        """`ours` [1, H, W, C] or [N, ...] against the stored values of a tensor, in the reference's layout."""
        shape = tuple(self[f"{key}/shape"]) if f"{key}/shape" in self else None
        if shape is not None and len(shape) == 4 and not self.is_matterport:
            ours = np.transpose(ours, (0, 3, 1, 2))
        if shape is not None:
            assert ours.shape == shape, f"{key}: {ours.shape}, expected {shape}"
        theirs = self[f"{key}/value"].astype(np.float64)
        mine = np.asarray(ours, np.float64).ravel()[self[f"{key}/index"]]
        error = np.linalg.norm(mine - theirs) / np.linalg.norm(theirs)
        assert error <= TAP_TOLERANCE, f"{key}: relative error {error:.2e}"


def xyxy(boxes: np.ndarray) -> np.ndarray:
    """(y1, x1, y2, x2) as (x1, y1, x2, y2) or back."""
    return np.asarray(boxes)[..., [1, 0, 3, 2]]


def pairwise_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of boxes [N, 4] and [M, 4], in either order of axes."""
    a, b = a[:, None].astype(np.float64), b[None].astype(np.float64)
    sides = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None)
    inside = sides[..., 0] * sides[..., 1]
    area_a, area_b = ((x[..., 2] - x[..., 0]) * (x[..., 3] - x[..., 1]) for x in (a, b))
    return inside / np.maximum(area_a + area_b - inside, 1e-12)


def nearest_resize(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Nearest neighbor as PyTorch's interpolate: source index floor(index * source size / size)."""
    rows, columns = (
        np.minimum(np.floor(np.arange(size) * np.float32(source / size)).astype(int), source - 1)
        for size, source in zip(shape, mask.shape, strict=True)
    )
    return mask[rows][:, columns]


def input_batch(image: np.ndarray, config: InputConfig) -> dict[str, tf.Tensor]:
    """One image as `mrcnn.detect` hands it to the model."""
    item = inference.prepare_image(image, 0, config)
    content_shape = item.content_shape
    return {
        "image": tf.constant(item.image[None]),
        "image_id": tf.constant([0], tf.int64),
        "original_shape": tf.constant([image.shape[:2]], tf.int32),
        "content_shape": tf.constant([content_shape], tf.int32),
    }
