"""`Recipe`: everything that decides a training run, composed of the components' config, and its files."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from mrcnn.base_config import BaseConfig, ConfigError
from mrcnn.data.pipeline import DataConfig
from mrcnn.files import atomic_write
from mrcnn.migrations import migrate_overrides, migrate_recipe
from mrcnn.modeling.backbones.resnet import ResNetConfig
from mrcnn.modeling.mask_rcnn import MaskRCNN, MaskRCNNConfig
from mrcnn.modeling.necks.fpn import FPNConfig
from mrcnn.recipes.train_config import REFERENCE_BATCH, TrainConfig
from mrcnn.weights.matterport import network_overrides
from mrcnn.weights.profiles import MATTERPORT

logger = logging.getLogger("mrcnn")


@dataclasses.dataclass(frozen=True)
class Recipe(BaseConfig):
    """Model, data and training in one frozen, typed value that a YAML or JSON file can hold.

    Files and checkpoints written by earlier versions are migrated when they are read, see `mrcnn.migrations`.
    """

    model: MaskRCNNConfig = MaskRCNNConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()

    def __post_init__(self) -> None:
        if self.model.semantic_head is not None and not self.data.semantic_maps:
            raise ConfigError("model.semantic_head: trains on semantic maps, but data.semantic_maps is False")

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
            >>> recipe = Recipe().with_profile("matterport")
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

    def build_model(
        self,
        class_names: Sequence[str],
        category_ids: Sequence[int] | None = None,
        *,
        stuff_names: Sequence[str] | None = None,
        stuff_category_ids: Sequence[int] = (),
    ) -> MaskRCNN:
        """A model with random weights for these classes.

        Args:
            class_names: names of the thing classes; their number replaces `model.num_classes`.
            category_ids: ids of these classes in the annotation file.
            stuff_names: of the stuff classes, where the recipe is of a panoptic model; None: the recipe's own.
            stuff_category_ids: ids of these in the annotation file; (): 1..S.

        Raises:
            ConfigError: a panoptic model without stuff classes.
        """
        config = dataclasses.replace(self.model, num_classes=len(class_names))
        if config.semantic_head is not None and stuff_names is not None:
            names, ids = tuple(stuff_names), tuple(stuff_category_ids)
            config = dataclasses.replace(config, stuff_names=names, stuff_category_ids=ids)
        return MaskRCNN(config, class_names, category_ids)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes YAML, or JSON where the name ends in .json."""
        path = Path(path)
        data = self.to_dict()
        text = json.dumps(data, indent=2) if path.suffix == ".json" else yaml.safe_dump(data, sort_keys=False)
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


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
