"""Recipes: everything that decides a training run, composed of the components' config. Named ones and files.

recipe = mrcnn.recipes.get("mask_rcnn_r50_fpn_1x").override({"train.batch_size": 4, "model.input.short_side": 640})
model = recipe.build_model(dataset.class_names)
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from mrcnn.base_config import BaseConfig, ConfigError
from mrcnn.data.pipeline import DataConfig
from mrcnn.files import atomic_write
from mrcnn.migrations import migrate_overrides, migrate_recipe
from mrcnn.modeling.backbones.efficientnet_lite import EfficientNetLiteConfig
from mrcnn.modeling.backbones.keras_applications import KerasApplicationsConfig
from mrcnn.modeling.backbones.resnet import ResNetConfig
from mrcnn.modeling.backbones.swin import SwinConfig
from mrcnn.modeling.heads.box import BoxHeadConfig
from mrcnn.modeling.heads.cascade import CascadeBoxHeadConfig
from mrcnn.modeling.heads.keypoint import KeypointHeadConfig
from mrcnn.modeling.heads.mask import MaskHeadConfig
from mrcnn.modeling.mask_rcnn import MaskRCNN, MaskRCNNConfig
from mrcnn.modeling.necks.fpn import FPNConfig
from mrcnn.modeling.necks.pass_through import PassThroughConfig
from mrcnn.modeling.roi_pooling import RoiPoolConfig
from mrcnn.modeling.roi_sampler import RoiSamplerConfig
from mrcnn.modeling.roi_stage import Res5Config
from mrcnn.modeling.rpn import RPNConfig
from mrcnn.preprocessing import InputConfig
from mrcnn.weights.matterport import network_overrides
from mrcnn.weights.profile import MATTERPORT

logger = logging.getLogger("mrcnn")

REFERENCE_BATCH = 16


@dataclasses.dataclass(frozen=True)
class TrainConfig(BaseConfig):
    """How long and at which rate to train. Durations count images, so that they hold for any batch size."""

    images: int = 1_440_000  # images seen in all: 90,000 steps of 16
    batch_size: int = 2  # images per device
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.02  # at a batch of 16; scaled linearly with the batch
    momentum: float = 0.9  # sgd only
    weight_decay: float = 1e-4  # sgd: added to the gradient; adamw: decoupled. Norms are spared
    # "l2": as above; "mean_square": the loss has weight_decay x mean(w^2) of kernels and biases, see `modeling.decay`.
    decay: Literal["l2", "mean_square"] = "l2"
    schedule: Literal["step", "cosine", "poly", "constant"] = "step"
    milestones: tuple[float, ...] = (2 / 3, 8 / 9)  # parts of the run after which "step" divides the rate by 10
    poly_power: float = 0.9  # "poly": the rate falls as (1 - progress) to this power
    warmup_images: int = 8_000  # over these the rate grows linearly from a thousandth of its value
    clip_norm: float | None = None  # largest global norm of the gradient
    train_layers: str = "all_but_frozen"  # "heads", "3+", "4+", "5+", "all", or what the backbone's freeze_at leaves
    unfreeze: tuple[tuple[float, str], ...] = ()  # (part of the run, train_layers from there on), e.g. [[0.25, "all"]]
    layer_rates: tuple[tuple[str, float], ...] = ()  # (start of a path, factor), e.g. [["backbone", 0.1]]
    weight_average: float = 0.0  # momentum of an exponential average of the weights, evaluated and kept; 0: none
    accumulate: int = 1  # gradients of so many parts, each of batch_size images, are added up before a step
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"  # of features; boxes stay float32
    recompute_backbone: bool = False  # compute its features again for the gradient: less memory, more time
    deterministic: bool = False  # the same bits on every run; slower on GPUs
    on_nonfinite: Literal["stop", "skip"] = "stop"  # at a step whose loss or gradient is not finite
    eval_every_epochs: int = 1
    best_by: str = "val_mask/AP"  # which number of the log the best model is chosen by; "-loss": the lowest is best
    stop_after: int = 0  # end the run after so many evaluations in a row without a better one; 0: never
    checkpoint_images: int = 0  # write a checkpoint every so many images too; 0: at the end of each epoch only
    keep_checkpoints: int = 3  # the last ones; the best is kept beside them
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (
            ("images", 1),
            ("batch_size", 1),
            ("eval_every_epochs", 1),
            ("warmup_images", 0),
            ("weight_decay", 0),
            ("accumulate", 1),
            ("stop_after", 0),
            ("checkpoint_images", 0),
            ("keep_checkpoints", 1),
        ):
            if getattr(self, name) < least:
                raise ConfigError(f"train.{name}: expected at least {least}, got {getattr(self, name)}")
        if self.learning_rate <= 0:
            raise ConfigError(f"train.learning_rate: expected a positive number, got {self.learning_rate}")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise ConfigError(f"train.clip_norm: expected a positive number or none, got {self.clip_norm}")
        if not 0 <= self.weight_average < 1:
            raise ConfigError(f"train.weight_average: expected a number from 0 to below 1, got {self.weight_average}")
        parts = [part for part, _ in self.unfreeze]
        if parts != sorted(parts) or not all(0 <= part <= 1 for part in parts):
            raise ConfigError(f"train.unfreeze: expected parts of the run from 0 to 1 in rising order, got {parts}")


@dataclasses.dataclass(frozen=True)
class Recipe(BaseConfig):
    """Model, data and training in one frozen, typed value that a YAML or JSON file can hold.

    Files and checkpoints written by earlier versions are migrated when they are read, see `mrcnn.migrations`.
    """

    model: MaskRCNNConfig = MaskRCNNConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Recipe:
        """A recipe from plain data; see `BaseConfig.from_dict`."""
        return super().from_dict(migrate_recipe(data))

    def override(self, changes: dict[str, Any]) -> Recipe:
        """A copy with dotted fields replaced, e.g. {"train.learning_rate": 0.01}; see `BaseConfig.override`.

        "profile" takes the conventions of another program, see `with_profile`, before the other changes.
        """
        if "profile" in changes:
            profile = changes["profile"]
            return self.with_profile(profile).override({k: v for k, v in changes.items() if k != "profile"})
        return super().override(migrate_overrides(changes, self.model.input.short_side))

    def with_profile(self, profile: str) -> Recipe:
        """The recipe with the conventions of the program that made its weights, in the model and in training.

        For weights of matterport/Mask_RCNN that are to be trained as it trains: its anchors, targets and losses, the
        gradient clipped at a global norm of 5, its weight decay, a constant learning rate without warm-up. The
        backbone's depth and the number of classes stay.

        Args:
            profile: "matterport".

        Raises:
            ConfigError: another name, or a recipe whose network is not one of matterport's: a ResNet-50 or -101 with a
                pyramid.

        Example:
            >>> recipe = get("mask_rcnn_r50_fpn").with_profile("matterport")
            >>> recipe.model.rpn.normalizer, recipe.train.clip_norm
            ('means', 5.0)
        """
        if profile != "matterport":
            raise ConfigError(f'profile: expected "matterport", got {profile!r}')
        backbone, neck = self.model.backbone, self.model.neck
        if not isinstance(backbone, ResNetConfig) or backbone.depth not in (50, 101) or not isinstance(neck, FPNConfig):
            raise ConfigError(
                'profile: "matterport" has ResNet-50 and ResNet-101 with a pyramid; the recipe has '
                f"{type(backbone).__name__} and {type(neck).__name__}"
            )
        overrides = network_overrides(backbone.depth, self.model.num_classes)
        train = dataclasses.replace(
            self.train,
            optimizer="sgd",
            learning_rate=0.001 * REFERENCE_BATCH / self.train.batch_size,  # its rate is that of a batch, whatever size
            momentum=0.9,
            weight_decay=1e-4,
            decay="mean_square",
            schedule="constant",
            warmup_images=0,
            clip_norm=5.0,
            train_layers="all",
        )
        return dataclasses.replace(self, model=MATTERPORT.model_config(overrides), train=train)

    def with_model(self, config: MaskRCNNConfig) -> Recipe:
        """The recipe of a run that trains a model of this config, which replaces its `model` part.

        Images are resized as the model's input config says; that the recipe asked for another size is logged.
        """
        ours, models = ((c.input.short_side, c.input.long_side) for c in (self.model, config))
        if ours != models:
            logger.warning(
                "the model resizes images to %d (at most %d) pixels, in training too; model.input of the recipe, %d"
                " (at most %d), is not used",
                *models,
                *ours,
            )
        return dataclasses.replace(self, model=config)

    def build_model(self, class_names: Sequence[str], category_ids: Sequence[int] | None = None) -> MaskRCNN:
        """A model with random weights for these classes.

        Args:
            class_names: names of the thing classes; their number replaces `model.num_classes`.
            category_ids: ids of these classes in the annotation file.
        """
        config = dataclasses.replace(self.model, num_classes=len(class_names))
        return MaskRCNN(config, class_names, category_ids)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes YAML, or JSON where the name ends in .json."""
        path = Path(path)
        data = self.to_dict()
        text = json.dumps(data, indent=2) if path.suffix == ".json" else yaml.safe_dump(data, sort_keys=False)
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _paper(**model: Any) -> Recipe:
    """The paper's FPN recipe, some components replaced.

    Ref: Mask R-CNN, section 3.1; Feature Pyramid Networks, section 5.1.
    """
    return Recipe(
        model=MaskRCNNConfig(**model),
        data=DataConfig(flip_horizontal=0.5, max_instances=100, mask_side=112),
    )


def _mask_rcnn_c4() -> Recipe:
    """RPN and heads on the stride-16 map, res5 on each RoI. Ref: Mask R-CNN, section 3 and figure 4 (left)."""
    pool = RoiPoolConfig(size=14, levels=("c4",))
    return _paper(
        backbone=ResNetConfig(last_stage=4),
        neck=PassThroughConfig(levels=("c4",)),
        rpn=RPNConfig(channels=1024).on_one_map("c4"),
        roi_stage=Res5Config(),
        box_head=BoxHeadConfig(pool=pool, fc_dims=(), reduce="mean"),
        heads=(MaskHeadConfig(pool=pool, conv_dims=()),),
        input=InputConfig(divisor=16),
    )


def _mask_rcnn_dc5() -> Recipe:
    """RPN and heads on res5, dilated so that it keeps stride 16. Ref: Deformable ConvNets, section 4.1."""
    return _paper(
        backbone=ResNetConfig(dilate_c5=True),
        neck=PassThroughConfig(levels=("c5",)),
        rpn=RPNConfig(channels=2048).on_one_map("c5"),
        box_head=BoxHeadConfig(pool=RoiPoolConfig(size=7, levels=("c5",))),
        heads=(MaskHeadConfig(pool=RoiPoolConfig(size=14, levels=("c5",))),),
    )


def _mask_rcnn_gn() -> Recipe:
    """Group norm throughout, four convolutions in the box head. Ref: Group Normalization, section 4.2."""
    return _paper(
        backbone=ResNetConfig(norm="gn"),
        neck=FPNConfig(norm="gn"),
        box_head=BoxHeadConfig(conv_dims=(256,) * 4, conv_norm="gn", fc_dims=(1024,)),
        heads=(MaskHeadConfig(conv_norm="gn"),),
    )


def _keypoint_rcnn() -> Recipe:
    """People and their 17 joints, trained at several scales. Ref: Mask R-CNN, section 5."""
    recipe = _paper(num_classes=1, heads=(KeypointHeadConfig(),))
    scales = tuple(range(640, 801, 32))
    data = dataclasses.replace(recipe.data, short_sides=scales, num_joints=17)
    return dataclasses.replace(recipe, data=data, train=TrainConfig(best_by="val_keypoints/AP"))


def _faster_rcnn() -> Recipe:
    """Boxes only. Ref: Feature Pyramid Networks, section 5.2."""
    return dataclasses.replace(_paper(heads=()), train=TrainConfig(best_by="val_box/AP"))


def _mask_rcnn_efficientnet_lite0() -> Recipe:
    """A recipe for a laptop: a light backbone, a narrow pyramid, light heads, small images.

    The backbone's ImageNet features are several times larger than a ResNet's, so the pyramid is group-normalized.
    """
    return Recipe(
        model=MaskRCNNConfig(
            backbone=EfficientNetLiteConfig(),
            neck=FPNConfig(channels=128, norm="gn"),
            rpn=RPNConfig(channels=128, pre_nms_train=1000, pre_nms_test=1000, post_nms_train=500, post_nms_test=500),
            roi_sampler=RoiSamplerConfig(num_rois=128),
            box_head=BoxHeadConfig(fc_dims=(256, 256)),
            heads=(MaskHeadConfig(pool=RoiPoolConfig(size=14), num_foreground=32, conv_dims=(64,) * 4, deconv_dim=64),),
            input=InputConfig(short_side=512, long_side=832),
        ),
        data=DataConfig(short_sides=(416, 448, 480, 512), flip_horizontal=0.5, mask_side=56),
        train=TrainConfig(
            images=16_000,
            batch_size=4,
            optimizer="adamw",
            learning_rate=2.4e-3,
            weight_decay=0.01,
            schedule="cosine",
            warmup_images=800,
            clip_norm=5.0,
        ),
    )


def _mask_rcnn_mobilenetv3() -> Recipe:
    """The laptop's recipe with MobileNetV3-Large. Ref: Searching for MobileNetV3, arXiv 1905.02244, table 1."""
    recipe = _mask_rcnn_efficientnet_lite0()
    return dataclasses.replace(
        recipe, model=dataclasses.replace(recipe.model, backbone=KerasApplicationsConfig(name="MobileNetV3Large"))
    )


def _with_adamw(name: str, learning_rate: float, weight_decay: float) -> Recipe:
    """The paper's heads on a network of `keras.applications`, trained at several scales by AdamW.

    Such a network has no norm after its last sum, and its features are several times larger than a ResNet's, so the
    pyramid is group-normalized.
    """
    recipe = _paper(backbone=KerasApplicationsConfig(name=name), neck=FPNConfig(norm="gn"))
    return dataclasses.replace(
        recipe,
        data=dataclasses.replace(recipe.data, short_sides=tuple(range(480, 801, 32))),
        train=TrainConfig(optimizer="adamw", learning_rate=learning_rate, weight_decay=weight_decay),
    )


def _mask_rcnn_convnext_tiny() -> Recipe:
    """ConvNeXt-T, its rate, decay and scales. Ref: A ConvNet for the 2020s, arXiv 2201.03545, appendix A.3."""
    return _with_adamw("ConvNeXtTiny", 1e-4, 0.05)


def _mask_rcnn_efficientnetv2_s() -> Recipe:
    """EfficientNetV2-S, trained as ConvNeXt-T is. Ref: EfficientNetV2, arXiv 2104.00298, table 4."""
    return _with_adamw("EfficientNetV2S", 1e-4, 0.05)


def _mask_rcnn_swin_t() -> Recipe:
    """Swin-T, its rate, decay, warm-up, scales and stochastic depth. Ref: arXiv 2103.14030, section 4.2 and A2.2.

    Its maps are normalized, so the pyramid needs no norm. Weight decay leaves out the bias of positions and all norms
    as there, and here the other biases, too.
    """
    recipe = _paper(backbone=SwinConfig(drop_path=0.2))
    return dataclasses.replace(
        recipe,
        data=dataclasses.replace(recipe.data, short_sides=tuple(range(480, 801, 32))),
        train=TrainConfig(optimizer="adamw", learning_rate=1e-4, weight_decay=0.05, warmup_images=16_000),
    )


_NAMED: dict[str, Callable[[], Recipe]] = {
    "mask_rcnn_r50_fpn": _paper,
    "mask_rcnn_r101_fpn": lambda: _paper(backbone=ResNetConfig(depth=101)),
    "mask_rcnn_r152_fpn": lambda: _paper(backbone=ResNetConfig(depth=152)),
    "mask_rcnn_x101_32x8d_fpn": lambda: _paper(backbone=ResNetConfig(depth=101, groups=32, width_per_group=8)),
    "mask_rcnn_r50_c4": _mask_rcnn_c4,
    "mask_rcnn_r50_dc5": _mask_rcnn_dc5,
    "mask_rcnn_r50_fpn_gn": _mask_rcnn_gn,
    "cascade_mask_rcnn_r50_fpn": lambda: _paper(box_head=CascadeBoxHeadConfig()),
    "faster_rcnn_r50_fpn": _faster_rcnn,
    "keypoint_rcnn_r50_fpn": _keypoint_rcnn,
    "mask_rcnn_efficientnet_lite0_fpn": _mask_rcnn_efficientnet_lite0,
    "mask_rcnn_mobilenetv3_fpn": _mask_rcnn_mobilenetv3,
    "mask_rcnn_convnext_tiny_fpn": _mask_rcnn_convnext_tiny,
    "mask_rcnn_swin_t_fpn": _mask_rcnn_swin_t,
    "mask_rcnn_efficientnetv2_s_fpn": _mask_rcnn_efficientnetv2_s,
}


def named() -> dict[str, Recipe]:
    """All recipes that come with the package, by name."""
    return {name: make() for name, make in _NAMED.items()}


def load(path: str | os.PathLike[str]) -> Recipe:
    """A recipe from a YAML or JSON file, checked field by field.

    Raises:
        ConfigError: the file does not exist, is not YAML or JSON, or a field is unknown or of the wrong type.
    """
    path = Path(path)
    try:
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: neither YAML nor JSON: {str(error).splitlines()[0]}") from error
    try:
        return Recipe.from_dict(data)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


SCHEDULES = {
    # Lengths of the public model zoos, in images, so that they hold for any number of devices; steps are of 16.
    "1x": {"train.images": 1_440_000, "train.milestones": [2 / 3, 8 / 9]},  # 90,000 steps, down at 60,000 and 80,000
    "2x": {"train.images": 2_880_000, "train.milestones": [2 / 3, 8 / 9]},
    "3x": {"train.images": 4_320_000, "train.milestones": [7 / 9, 25 / 27]},  # 270,000; 210,000 and 250,000
    # 160,000 steps, down at 120,000. Ref: Mask R-CNN, section 3.1
    "paper": {"train.images": 2_560_000, "train.milestones": [3 / 4]},
}
"""By suffix: "mask_rcnn_r50_fpn_3x" is mask_rcnn_r50_fpn with the length "3x"."""


def get(name_or_path: str | os.PathLike[str], *, profile: str | None = None) -> Recipe:
    """A recipe by name, or from a file.

    Args:
        name_or_path: one of `named`, with a suffix of `SCHEDULES` or without, or a YAML or JSON file.
        profile: take the conventions of this program, see `Recipe.with_profile`; None: the recipe's own.

    Raises:
        ConfigError: neither a known name nor a readable file; the message lists close names.
    """
    if profile is not None:
        return get(name_or_path).with_profile(profile)
    name = str(name_or_path)
    if name in _NAMED:
        return _NAMED[name]()
    base, _, suffix = name.rpartition("_")
    if base in _NAMED and suffix in SCHEDULES:
        return _NAMED[base]().override(SCHEDULES[suffix])
    if Path(name).suffix in (".yaml", ".yml", ".json") or Path(name).is_file():
        return load(name)
    close = difflib.get_close_matches(name, _NAMED, n=1)
    hint = f"; did you mean {close[0]}?" if close else "."
    raise ConfigError(f"no recipe {name!r}{hint} There are {', '.join(_NAMED)}, or give a YAML file")
