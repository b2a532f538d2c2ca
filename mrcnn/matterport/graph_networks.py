"""matterport's backbone, RPN and heads as functions that build layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import keras
import tensorflow as tf

from mrcnn.matterport.graph_boxes import is_filled, sides
from mrcnn.modeling.backbones.resnet import ResNetConfig, ResNetStage
from mrcnn.modeling.heads.box import BoxHeadConfig, BoxPrediction
from mrcnn.modeling.heads.mask import MaskHeadConfig
from mrcnn.modeling.roi_pooling import RoiPooler
from mrcnn.modeling.rpn import AnchorConfig, RPNConfig
from mrcnn.weights.profiles import MATTERPORT

_STRIDES = {"p2": 4, "p3": 8, "p4": 16, "p5": 32}


class Step(keras.layers.Layer):
    """A function of tensors as a layer.

    Args:
        function: tensors to a tensor, or to a list of them.
        components: the layers whose weights it uses.
    """

    def __init__(self, function: Callable[..., Any], components: Sequence[Any] = (), **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.function, self.components = function, list(components)

    def build(self, *_: Any, **__: Any) -> None:
        """Nothing to make: the components have their weights."""
        self.built = True

    def call(self, *inputs: Any) -> Any:
        """The function's value."""
        return self.function(*inputs)


class BatchNorm(keras.layers.BatchNormalization):
    """Batch norm that is frozen with `training=False`; None: as the model it is in trains or not."""

    def call(self, inputs: Any, training: Any = None) -> Any:
        """As Keras'."""
        return super().call(inputs, training=training)


class PyramidROIAlign(keras.layers.Layer):
    """Features under boxes, each from the pyramid level that suits its size; matterport's sampling.

    Called with [boxes f32[B, N, 4], image_meta, P2, P3, P4, P5], gives [B, N, height, width, channels].

    Args:
        pool_shape: (height, width).
    """

    def __init__(self, pool_shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.pool_shape = tuple(pool_shape)

    def call(self, inputs: Sequence[Any]) -> Any:
        """See the class."""
        boxes, image_meta, *maps = inputs
        boxes = tf.cast(boxes, tf.float32) * sides(image_meta[0, 4:6])
        pool = replace(MATTERPORT.pool, size=int(self.pool_shape[0]))
        return pool.pool(dict(zip(_STRIDES, maps, strict=True)), _STRIDES, boxes, tf.ones(tf.shape(boxes)[:2], tf.bool))

    def get_config(self) -> dict[str, Any]:
        """Plain data from which Keras rebuilds the layer."""
        return {**super().get_config(), "pool_shape": self.pool_shape}


def resnet_graph(input_image: Any, architecture: Any, stage5: bool = False, train_bn: Any = True) -> list[Any]:
    """[C1, ..., C5] of a ResNet; C5 is None without `stage5`."""
    if callable(architecture):
        return architecture(input_image, stage5=stage5, train_bn=train_bn)
    assert architecture in ["resnet50", "resnet101"]
    backbone = ResNetConfig(
        depth=50 if architecture == "resnet50" else 101,
        norm="frozen_bn" if train_bn is False else "bn",
        epsilon=MATTERPORT.norm_epsilon,
        freeze_at=0,
        stride_in_1x1=True,
        last_stage=5 if stage5 else 4,
        stem_pool="same",
        pixel_norm=replace(
            MATTERPORT.pixel_norm, mean=(0.0,) * input_image.shape[-1], std=(1.0,) * input_image.shape[-1]
        ),
    ).build(architecture)
    maps = keras.Model(backbone.input, [backbone.get_layer("stem_pool").output, *backbone.output.values()])(input_image)
    return [*maps, *([] if stage5 else [None])]


def _block(
    x: Any, kernel_size: int, filters: Sequence[int], stage: int, block: str, strides: int, train_bn: Any
) -> Any:
    wide = [16 * 2**stage, 16 * 2**stage, 64 * 2**stage]
    if kernel_size != 3 or list(filters) != wide:
        raise ValueError(f"res{stage}{block}: expected kernel_size 3 and filters {wide}, got {kernel_size}, {filters}")
    norm: Literal["frozen_bn", "bn"] = "frozen_bn" if train_bn is False else "bn"
    component = ResNetStage(stage, stride_in_1x1=True, norm=norm, epsilon=MATTERPORT.norm_epsilon)
    return component.block(x, strides, f"res{stage}{block}", project=strides > 1 or x.shape[-1] != wide[-1])


def identity_block(
    input_tensor: Any,
    kernel_size: int,
    filters: Sequence[int],
    stage: int,
    block: str,
    use_bias: bool = True,
    train_bn: Any = True,
) -> Any:
    """A bottleneck of a ResNet that keeps resolution and channels."""
    del use_bias  # the norm has one
    return _block(input_tensor, kernel_size, filters, stage, block, 1, train_bn)


def conv_block(
    input_tensor: Any,
    kernel_size: int,
    filters: Sequence[int],
    stage: int,
    block: str,
    strides: Sequence[int] = (2, 2),
    use_bias: bool = True,
    train_bn: Any = True,
) -> Any:
    """A bottleneck of a ResNet that changes resolution and channels."""
    del use_bias
    return _block(input_tensor, kernel_size, filters, stage, block, int(strides[0]), train_bn)


def build_rpn_model(anchor_stride: int, anchors_per_location: int, depth: int) -> keras.Model:
    """A feature map [B, h, w, depth] to [logits [B, A, 2], probabilities [B, A, 2], deltas [B, A, 4]]."""
    if anchor_stride != 1:
        raise ValueError(f"build_rpn_model: expected anchor_stride 1, got {anchor_stride}")
    anchors = AnchorConfig(sizes=((1.0,) * anchors_per_location,), ratios=(1.0,))
    rpn = RPNConfig(anchors=anchors, levels=("map",), channels=512).build(depth, {"map": 1}, "rpn")

    def predict(feature: tf.Tensor) -> list[tf.Tensor]:
        output = rpn({"map": feature})
        logits = two_class_logits(output.logits)
        return [logits, tf.nn.softmax(logits), output.deltas]

    feature = keras.Input((None, None, depth), name="input_rpn_feature_map")
    return keras.Model(feature, Step(predict, [rpn], name="rpn_outputs")(feature), name="rpn_model")


def rpn_graph(feature_map: Any, anchors_per_location: int, anchor_stride: int) -> list[Any]:
    """[logits, probabilities, deltas] of a region proposal network on a feature map."""
    return build_rpn_model(anchor_stride, anchors_per_location, feature_map.shape[-1])(feature_map)


def two_class_logits(logits: tf.Tensor) -> tf.Tensor:
    """[B, A, (background, object)] of the difference [B, A]."""
    return tf.stack([tf.zeros_like(logits), logits], axis=-1)


def with_background(values: tf.Tensor, axis: int) -> tf.Tensor:
    """Zeros for the background before the things along an axis."""
    first = tf.zeros_like(tf.gather(values, [0], axis=axis))
    return tf.concat([first, values], axis=axis)


def class_outputs(pred: BoxPrediction) -> list[tf.Tensor]:
    """[logits [B, N, K], probabilities [B, N, K], deltas [B, N, K, 4]] of a box head, K with the background."""
    deltas = with_background(tf.einsum("bskc->bsck", pred.deltas), axis=2)
    return [pred.class_logits, tf.nn.softmax(pred.class_logits), deltas]


def fpn_classifier_graph(
    rois: Any,
    feature_maps: Sequence[Any],
    image_meta: Any,
    pool_size: int,
    num_classes: int,
    train_bn: Any = True,
    fc_layers_size: int = 1024,
) -> list[Any]:
    """[logits [B, N, NUM_CLASSES], probabilities, deltas [B, N, NUM_CLASSES, 4]] of RoIs on P2 to P5."""
    channels = feature_maps[0].shape[-1]
    native = BoxHeadConfig(
        pool=replace(MATTERPORT.pool, size=pool_size),
        fc_dims=(fc_layers_size, fc_layers_size),
        fc_norm="frozen_bn" if train_bn is False else "bn",
        norm_epsilon=MATTERPORT.norm_epsilon,
    )
    head = native.build(num_classes - 1, RoiPooler(native.pool, _STRIDES, channels), "mrcnn_classifier")
    return _head_step(head, class_outputs, "mrcnn_class_outputs")(rois, image_meta, *feature_maps)


def build_fpn_mask_graph(
    rois: Any, feature_maps: Sequence[Any], image_meta: Any, pool_size: int, num_classes: int, train_bn: Any = True
) -> Any:
    """Masks f32[B, N, 2 x pool_size, 2 x pool_size, NUM_CLASSES], probabilities, of RoIs on P2 to P5."""
    channels = feature_maps[0].shape[-1]
    native = MaskHeadConfig(
        pool=replace(MATTERPORT.pool, size=pool_size),
        conv_norm="frozen_bn" if train_bn is False else "bn",
        norm_epsilon=MATTERPORT.norm_epsilon,
    )
    head = native.build(num_classes, RoiPooler(native.pool, _STRIDES, channels), "mrcnn_masks")
    return _head_step(head, tf.sigmoid, "mrcnn_mask")(rois, image_meta, *feature_maps)


def _head_step(head: Any, outputs: Callable[[Any], Any], name: str) -> Step:
    def run(rois: tf.Tensor, image_meta: tf.Tensor, *maps: tf.Tensor) -> Any:
        boxes = rois * sides(image_meta[0, 4:6])
        window = tf.cast(image_meta[:, 7:11], tf.float32)
        return outputs(head(dict(zip(_STRIDES, maps, strict=True)), boxes, is_filled(rois), window))

    return Step(run, [head], name=name)
