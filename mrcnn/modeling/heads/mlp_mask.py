"""Mask head of fully connected layers, to compare the convolutional one with. Ref: Mask R-CNN, table 2e."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import keras
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.heads.mask import BaseMaskHead, BaseMaskHeadConfig
from mrcnn.modeling.initializers import first_kernel, normal_initializer
from mrcnn.modeling.roi_pooling import RoiPooler
from mrcnn.structures.tensors import Shape, known_sizes


@dataclasses.dataclass(frozen=True)
class MLPMaskHeadConfig(BaseMaskHeadConfig):
    """Configuration of the mask head that is a multilayer perceptron; defaults are table 2e's, fc: 1024 -> 1024.

    Example:
        >>> from mrcnn import recipes
        >>> recipe = recipes.get("mask_rcnn_r50_fpn").override({"model.heads": [{"kind": "MLPMaskHeadConfig"}]})
        >>> recipe.model.heads[0].fc_dims, recipe.model.heads[0].mask_size
        ((1024, 1024), 28)
    """

    takes_rotated: ClassVar[bool] = True

    fc_dims: tuple[int, ...] = (1024, 1024)  # hidden fully connected layers, each with ReLU; none: one linear map
    mask_size: int = 28  # M, side of the predicted mask

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(dim < 1 for dim in self.fc_dims):
            raise ConfigError(f"fc_dims: expected at least 1 each, got {list(self.fc_dims)}")
        if self.mask_size < 1:
            raise ConfigError(f"mask_size: expected at least 1, got {self.mask_size}")

    @property
    def layer_name(self) -> str:
        """See `RoiHeadConfig.layer_name`: as of the convolutional mask head."""
        return self.full_name("mask_head")

    def build(self, num_classes: int, pooler: RoiPooler, name: str = "mask_head") -> MLPMaskHead:
        """See `RoiHeadConfig.build`."""
        layer = MLPMaskHead(self, num_classes, pooler, name=name)
        layer.build((None, None, pooler.out_size, pooler.out_size, pooler.out_channels))
        return layer


class MLPMaskHead(BaseMaskHead):
    """Pooling, hidden fully connected layers, one that gives every pixel of every class' mask."""

    config: MLPMaskHeadConfig

    def __init__(self, config: MLPMaskHeadConfig, num_classes: int, pooler: RoiPooler, **kwargs: Any) -> None:
        super().__init__(config, num_classes, pooler, **kwargs)
        self.fcs = [
            keras.layers.Dense(dim, activation="relu", kernel_initializer=first_kernel("he_normal"), name=f"fc{i}")
            for i, dim in enumerate(config.fc_dims, start=1)
        ]
        pixels = self.num_masks * config.mask_size**2
        self.mask_logits = keras.layers.Dense(pixels, kernel_initializer=normal_initializer(0.001), name="mask_logits")

    @property
    def mask_side(self) -> int:
        """M, side of the predicted mask."""
        return self.config.mask_size

    def build(self, input_shape: Shape) -> None:
        """Create the weights for pooled features [B, S, h, w, C]."""
        if self.built:
            return
        width = math.prod(known_sizes(input_shape[2:]))
        for layer in (*self.fcs, self.mask_logits):
            layer.build((None, width))
            width = layer.units
        self.built = True

    def logits_of(self, pooled: tf.Tensor, valid: tf.Tensor, training: bool | None) -> tf.Tensor:
        """See `BaseMaskHead.logits_of`; the last layer's numbers are (row, column, class), the class fastest."""
        x = tf.reshape(pooled, [-1, pooled.shape[1] * pooled.shape[2] * pooled.shape[3]])
        for layer in (*self.fcs, self.mask_logits):
            x = layer(x)
        return tf.reshape(x, [-1, self.mask_side, self.mask_side, self.num_masks])
