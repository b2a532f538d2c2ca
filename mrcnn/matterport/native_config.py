"""What a `Config` of matterport's means in this package's own config."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np

from mrcnn import recipes
from mrcnn.data.pipeline import DataConfig
from mrcnn.matterport.config import Config
from mrcnn.modeling.backbones.function import CallableConfig
from mrcnn.modeling.mask_rcnn import MaskRCNNConfig
from mrcnn.modeling.normalize import PixelNorm
from mrcnn.recipes import REFERENCE_BATCH, Recipe, TrainConfig
from mrcnn.weights.matterport import network_overrides
from mrcnn.weights.network import Network
from mrcnn.weights.profiles import MATTERPORT

_log = logging.getLogger("mrcnn")

_DEPTHS = {"resnet50": 50, "resnet101": 101}
_NO_LIMIT = 1_000_000  # pixels: longer than any image
_STRIDES = (4, 8, 16, 32, 64)


def network(config: Any) -> Network:
    """The network of matterport's that a `Config` describes.

    Raises:
        ValueError: one that this package does not have; names the attribute.
    """
    if not callable(config.BACKBONE) and config.BACKBONE not in _DEPTHS:
        raise ValueError(
            f"BACKBONE: expected 'resnet50', 'resnet101' or a function of the image that returns feature maps, got"
            f" {config.BACKBONE!r}"
        )
    if config.NUM_CLASSES < 2:
        raise ValueError(
            f"NUM_CLASSES: expected background and at least one class, so 2 or more; got {config.NUM_CLASSES}"
        )
    # In the paper's network norms are frozen as a whole, in matterport's only their statistics are.
    norm = "bn" if config.TRAIN_BN is not False else "frozen_bn" if config.PAPER else "affine_bn"
    side = config.FPN_CLASSIF_FC_LAYERS_SIZE
    ratios = tuple(float(ratio) for ratio in config.RPN_ANCHOR_RATIOS)
    overrides = network_overrides(
        _depth(config),
        config.NUM_CLASSES - 1,
        config.TOP_DOWN_PYRAMID_SIZE,
        (side, side),
        config.POOL_SIZE,
        norm,
        "sigmoid" if config.PAPER else "softmax",
        has_mask=True,
    )
    anchors = {
        "rpn.anchors.sizes": tuple((float(scale),) for scale in config.RPN_ANCHOR_SCALES),
        "rpn.anchors.ratios": ratios,
    }
    return Network("matterport", {**overrides, **anchors}, len(ratios))


def model_config(config: Any) -> MaskRCNNConfig:
    """Configuration of the model that a `Config` describes; see `Config.PAPER`."""
    _refuse(config)
    if not config.PAPER:
        base, counts = MATTERPORT.model_config(network(config).overrides), _Attributes(config, changed_only=False)
    else:
        name = config.PAPER if isinstance(config.PAPER, str) else _paper_recipe(config)
        base, counts = recipes.get(name).model, _Attributes(config, changed_only=True)
    changes: dict[str, Any] = {"num_classes": config.NUM_CLASSES - 1}
    changes |= counts.of(
        {
            "rpn.nms_iou": ("RPN_NMS_THRESHOLD", float),
            "rpn.batch_per_image": ("RPN_TRAIN_ANCHORS_PER_IMAGE", int),
            "rpn.pre_nms_train": ("PRE_NMS_LIMIT", int),
            "rpn.pre_nms_test": ("PRE_NMS_LIMIT", int),
            "rpn.post_nms_train": ("POST_NMS_ROIS_TRAINING", int),
            "rpn.post_nms_test": ("POST_NMS_ROIS_INFERENCE", int),
            "rpn.delta_weights": ("RPN_BBOX_STD_DEV", std_weights),
            "roi_sampler.num_rois": ("TRAIN_ROIS_PER_IMAGE", int),
            "roi_sampler.positive_fraction": ("ROI_POSITIVE_RATIO", float),
            "box_head.delta_weights": ("BBOX_STD_DEV", std_weights),
            "box_head.max_detections": ("DETECTION_MAX_INSTANCES", int),
            "box_head.score_threshold": ("DETECTION_MIN_CONFIDENCE", lambda value: float(value or 0)),
            "box_head.nms_iou": ("DETECTION_NMS_THRESHOLD", float),
            "box_head.pool.size": ("POOL_SIZE", int),
            "heads.0.pool.size": ("MASK_POOL_SIZE", int),
            "neck.channels": ("TOP_DOWN_PYRAMID_SIZE", int),
            "rpn.anchors.sizes": ("RPN_ANCHOR_SCALES", lambda scales: tuple((float(s),) for s in scales)),
            "rpn.anchors.ratios": ("RPN_ANCHOR_RATIOS", lambda ratios: tuple(float(r) for r in ratios)),
            "backbone.pixel_norm.mean": ("MEAN_PIXEL", lambda _: _mean(config)),
        }
    )
    changes |= _loss_weights(config)
    if config.IMAGE_CHANNEL_COUNT != 3:
        changes["backbone.pixel_norm.mean"] = _mean(config)
        changes["backbone.pixel_norm.std"] = (base.backbone.pixel_norm.std * int(config.IMAGE_CHANNEL_COUNT))[
            : int(config.IMAGE_CHANNEL_COUNT)
        ]
        changes["backbone.pixel_norm.bgr"] = False
    made = base.override(changes)
    made = replace(made, input=_input(made.input, config, counts))
    if callable(config.BACKBONE):
        made = replace(made, backbone=_own_backbone(config, made.backbone.pixel_norm))
    if not base.heads or config.PAPER:
        return made
    # Every positive RoI trains the mask head, as many as the sampler may draw.
    positive = max(1, int(config.TRAIN_ROIS_PER_IMAGE * config.ROI_POSITIVE_RATIO))
    return made.override({"heads.0.num_foreground": positive})


def recipe(config: Any, learning_rate: float, layers: str = "all") -> Recipe:
    """What a `Config` says as a recipe, for `mrcnn.train` on a data set of this package.

    Args:
        config: the script's.
        learning_rate: of a batch of `config.BATCH_SIZE`.
        layers: for the record only.
    """
    crop = (int(config.IMAGE_MIN_DIM),) * 2 if config.IMAGE_RESIZE_MODE == "crop" else None
    mini = max(config.MINI_MASK_SHAPE[:2]) if config.USE_MINI_MASK else 112
    data = DataConfig(
        crop=crop,
        flip_horizontal=0.0,  # matterport leaves it to the `augmentation` argument
        max_instances=int(config.MAX_GT_INSTANCES),
        mask_side=int(mini),
    )
    train = TrainConfig(
        batch_size=int(config.BATCH_SIZE),
        learning_rate=float(learning_rate) * REFERENCE_BATCH / int(config.BATCH_SIZE),  # scaled back with the batch
        momentum=float(config.LEARNING_MOMENTUM),
        weight_decay=float(config.WEIGHT_DECAY),
        decay="l2" if config.PAPER else "mean_square",
        schedule="constant",
        warmup_images=0,
        clip_norm=float(config.GRADIENT_CLIP_NORM) if config.GRADIENT_CLIP_NORM else None,
        train_layers=layers,
    )
    return Recipe(model_config(config), data, train)


class _Attributes:
    """Reads a Config: all of its attributes, or those only that differ from the base class's."""

    def __init__(self, config: Any, changed_only: bool) -> None:
        self.config, self.changed_only = config, changed_only

    def counts(self, name: str) -> bool:
        if not self.changed_only:
            return True
        return not np.array_equal(np.asarray(getattr(self.config, name)), np.asarray(getattr(Config, name)))

    def of(self, fields: dict[str, tuple[str, Any]]) -> dict[str, Any]:
        return {
            path: convert(getattr(self.config, name)) for path, (name, convert) in fields.items() if self.counts(name)
        }


def _refuse(config: Any) -> None:
    """What has no counterpart here ends with one clear line instead of another network than was asked for."""
    if tuple(config.BACKBONE_STRIDES) != _STRIDES or config.RPN_ANCHOR_STRIDE != 1:
        raise ValueError(
            f"BACKBONE_STRIDES, RPN_ANCHOR_STRIDE: expected {list(_STRIDES)} and 1, the backbone's own, got "
            f"{list(config.BACKBONE_STRIDES)} and {config.RPN_ANCHOR_STRIDE}"
        )
    if len(config.RPN_ANCHOR_SCALES) != len(_STRIDES):
        raise ValueError(f"RPN_ANCHOR_SCALES: expected 5 scales, one per level, got {tuple(config.RPN_ANCHOR_SCALES)}")
    if config.IMAGE_CHANNEL_COUNT < 1 or np.size(config.MEAN_PIXEL) not in (1, config.IMAGE_CHANNEL_COUNT):
        raise ValueError(
            f"IMAGE_CHANNEL_COUNT, MEAN_PIXEL: expected a mean for each of {config.IMAGE_CHANNEL_COUNT} channels, got "
            f"{config.MEAN_PIXEL}"
        )


def _paper_recipe(config: Any) -> str:
    return f"mask_rcnn_r{_depth(config)}_fpn"


def _depth(config: Any) -> int:
    """Layers of the ResNet; of a model with another backbone, of the one whose other layers it has."""
    return 50 if callable(config.BACKBONE) else _DEPTHS.get(config.BACKBONE, 50)


def _own_backbone(config: Any, pixel_norm: PixelNorm) -> CallableConfig:
    """The script's function as backbone; with `TRAIN_BN = False` its norms stay as it makes them."""
    return CallableConfig(config.BACKBONE, norm="none" if config.TRAIN_BN is False else "bn", pixel_norm=pixel_norm)


def _mean(config: Any) -> tuple[float, ...]:
    """One mean per channel."""
    mean = np.broadcast_to(np.asarray(config.MEAN_PIXEL, np.float64).reshape(-1), [int(config.IMAGE_CHANNEL_COUNT)])
    return tuple(mean.tolist())


def std_weights(std_dev: Any) -> tuple[float, float, float, float]:
    """Deltas are divided by their deviation there and multiplied by a weight here; rounded to what was meant."""
    y, x, h, w = (round(float(1 / deviation), 6) for deviation in std_dev)
    return y, x, h, w


def _loss_weights(config: Any) -> dict[str, float | None]:
    weights = {**Config.LOSS_WEIGHTS, **config.LOSS_WEIGHTS}
    changes: dict[str, float | None] = {"heads.0.loss_weight": float(weights["mrcnn_mask_loss"])}
    for component, classes, boxes in (
        ("rpn", "rpn_class_loss", "rpn_bbox_loss"),
        ("box_head", "mrcnn_class_loss", "mrcnn_bbox_loss"),
    ):
        first, second = float(weights[classes]), float(weights[boxes])
        changes[f"{component}.loss_weight"] = first
        changes[f"{component}.box_loss_weight"] = None if second == first else second
    return changes


def _input(base: Any, config: Any, counts: _Attributes) -> Any:
    """How `detect` resizes: IMAGE_RESIZE_MODE with the dimensions that go with it."""
    if counts.changed_only and not any(map(counts.counts, ("IMAGE_MIN_DIM", "IMAGE_MAX_DIM", "IMAGE_RESIZE_MODE"))):
        return base
    mode = config.IMAGE_RESIZE_MODE
    short = int(config.IMAGE_MIN_DIM or 1) if mode != "none" else 1
    if mode == "square":
        return replace(base, short_side=short, long_side=int(config.IMAGE_MAX_DIM or _NO_LIMIT))
    if mode not in ("none", "pad64", "crop"):
        raise ValueError(f"IMAGE_RESIZE_MODE: expected square, none, pad64 or crop, got {mode!r}")
    return replace(base, short_side=short, long_side=_NO_LIMIT, canvas="divisor", divisor=64)
