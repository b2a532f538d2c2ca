"""What RoI heads have in common: the interface the model calls, and small stacks of layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from mrcnn.modeling.backbones.base import ConvNorm
from mrcnn.modeling.initializers import fan_out_initializer
from mrcnn.modeling.normalize import NormKind
from mrcnn.modeling.roi_pooling import RoiPoolConfig, RoiPooler
from mrcnn.settings import Settings
from mrcnn.structures import Batch, Detections, LossTerm, RoiSample


@dataclasses.dataclass(frozen=True)
class RoiHeadConfig(Settings):
    """Base of the settings of RoI heads."""

    pool: RoiPoolConfig = RoiPoolConfig()
    loss_weight: float = 1.0

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Names of the loss terms of the head."""
        raise NotImplementedError

    def build(self, num_classes: int, pooler: RoiPooler, name: str) -> RoiHead:
        """The head with its weights created.

        Args:
            num_classes: C, things only.
            pooler: what the head sees its RoIs through, made from `pool`.
            name: layer name.
        """
        raise NotImplementedError


class RoiHead(keras.layers.Layer):
    """A branch of the second stage. Subclasses add a file, not a case elsewhere.

    In training the model calls `call` on the RoIs of `rois_for`, then `loss` against `targets`. In inference it calls
    `call` on the detections' boxes, then `attach`.
    """

    config: RoiHeadConfig

    def __init__(self, config: RoiHeadConfig, pooler: RoiPooler, **kwargs: Any) -> None:
        # Boxes stay float32 under a half-precision policy: bfloat16 knows whole pixels up to 256 only.
        super().__init__(autocast=False, **kwargs)
        self.config = config
        self.pooler = pooler

    def call(
        self,
        features: Mapping[str, tf.Tensor],
        boxes: tf.Tensor,
        valid: tf.Tensor,
        window: tf.Tensor,
        training: bool | None = None,
    ) -> Any:
        """Predictions of the head for each RoI.

        Args:
            features: pyramid levels [B, H / stride, W / stride, C] by name.
            boxes: f32[B, S, 4], the RoIs in pixels of the padded picture.
            valid: bool[B, S]; the others are padding: what is predicted for them means nothing, and they take no part
                in batch statistics.
            window: f32[B, 4], (y1, x1, y2, x2) of the picture inside the padding; boxes a head makes are clipped to it.
            training: whether batch norm uses, and learns from, the statistics of this batch.
        """
        raise NotImplementedError

    def rois_for(self, rois: RoiSample) -> RoiSample:
        """The sampled RoIs this head trains on; by default all of them."""
        return rois

    def targets(self, rois: RoiSample, batch: Batch) -> Any:
        """What the head should predict for `rois`."""
        raise NotImplementedError

    def loss(self, pred: Any, targets: Any, rois: RoiSample) -> dict[str, LossTerm]:
        """Loss terms by name, each as sum and count."""
        raise NotImplementedError

    def attach(self, detections: Detections, pred: Any) -> Detections:
        """The detections with this head's predictions added; `pred` was computed on `detections.boxes`."""
        raise NotImplementedError


def foreground_rois(rois: RoiSample, num: int) -> RoiSample:
    """The first `num` RoIs, where the sampler puts the foreground; those that are background count as padding."""
    first = RoiSample(*(field[:, :num] for field in rois))
    return first._replace(valid=first.valid & first.foreground)


def select_class(values: tf.Tensor, class_index: tf.Tensor) -> tf.Tensor:
    """The predictions for one class per RoI.

    Args:
        values: [B, S, ..., K] with K classes last.
        class_index: i32[B, S], 0 .. K - 1.

    Returns:
        [B, S, ...].
    """
    num_classes = values.shape[-1]
    if num_classes == 1:
        return tf.squeeze(values, -1)
    inner = len(values.shape) - 3
    # A product with one-hot rows reads the map once and, unlike a gather, has a cheap gradient.
    one_hot = tf.one_hot(class_index, num_classes, dtype=values.dtype)
    one_hot = tf.reshape(one_hot, [*_dynamic_shape(class_index), *[1] * inner, num_classes])
    return tf.reduce_sum(values * one_hot, axis=-1)


def _dynamic_shape(x: tf.Tensor) -> list[Any]:
    shape = tf.shape(x)
    return [shape[i] if size is None else size for i, size in enumerate(x.shape)]


def merge_rois(x: tf.Tensor) -> tf.Tensor:
    """[B, S, ...] -> [B * S, ...], so that layers for pictures serve RoIs."""
    return tf.reshape(x, [-1, *x.shape[2:]])


def split_rois(x: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """[B * S, ...] -> [B, S, ...] with B and S of `like` [B, S, ...]."""
    shape = _dynamic_shape(like)
    return tf.reshape(x, [*shape[:2], *x.shape[1:]])


def norm_of_rois(norm: keras.layers.Layer, x: tf.Tensor, valid: tf.Tensor, training: bool | None) -> tf.Tensor:
    """Applies a normalisation layer to RoIs; batch statistics are those of the valid RoIs.

    Args:
        norm: any layer of `make_norm`.
        x: [N, ..., channels].
        valid: bool[N]; padding slots hold no picture and would drag the statistics towards it.
        training: see `RoiHead.call`.

    Returns:
        [N, ..., channels] in the dtype of `x`.

    Empty: without any valid RoI the moving statistics stay as they are.
    """
    if not isinstance(norm, keras.layers.BatchNormalization):
        return norm(x)
    if not (training and norm.trainable):
        return norm(x, training=False)
    inputs = tf.cast(x, tf.float32)
    counted = tf.reshape(valid, [-1, *[1] * (len(x.shape) - 1)])
    replica = tf.distribute.get_replica_context()

    def total(values: tf.Tensor) -> tf.Tensor:
        # In two steps, as on the CPU TensorFlow sums in one running float32: RoIs are many, their bins few.
        per_roi = tf.reduce_sum(tf.where(counted, values, 0.0), list(range(1, len(x.shape) - 1)))  # [N, channels]
        own = tf.reduce_sum(per_roi, 0)
        return replica.all_reduce(tf.distribute.ReduceOp.SUM, own) if norm.synchronized and replica else own

    count = total(tf.ones_like(inputs))  # [channels]
    mean = total(inputs) / tf.maximum(count, 1.0)
    variance = total(tf.square(inputs - mean)) / tf.maximum(count, 1.0)
    for moving, value in ((norm.moving_mean, mean), (norm.moving_variance, variance)):
        moving.assign(tf.where(count > 0.0, norm.momentum * moving + (1.0 - norm.momentum) * value, moving))
    outputs = tf.nn.batch_normalization(inputs, mean, variance, norm.beta, norm.gamma, norm.epsilon)
    return tf.cast(outputs, x.dtype)


class RoiConv(ConvNorm):
    """A 3x3 convolution with norm and ReLU on RoIs."""

    def call(self, inputs: tf.Tensor, valid: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """[N, h, w, in] -> [N, h, w, out]; `valid` bool[N], see `norm_of_rois`."""
        if not isinstance(self.norm, keras.layers.BatchNormalization):
            return super().call(inputs, training=training)
        outputs = self._convolve(inputs, tf.cast(tf.convert_to_tensor(self.kernel), inputs.dtype))
        return tf.nn.relu(norm_of_rois(self.norm, outputs, valid, training))


class ConvStack(keras.layers.Layer):
    """3x3 convolutions with ReLU, as the mask and keypoint heads and deep box heads use.

    Args:
        filters: output channels of each convolution; may be empty.
        norm: see `make_norm`; "none" gives the convolutions a bias.
        epsilon: of the norm.
    """

    def __init__(self, filters: Sequence[int], norm: NormKind = "none", epsilon: float = 1e-5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.convs = [
            RoiConv(
                f,
                3,
                norm=norm,
                epsilon=epsilon,
                activation="relu",
                kernel_initializer=fan_out_initializer(),
                name=f"conv{i}",
            )
            for i, f in enumerate(filters, start=1)
        ]

    def build(self, input_shape: tuple) -> None:
        """Create all weights."""
        for conv in self.convs:
            conv.build(input_shape)
            input_shape = conv.compute_output_shape(input_shape)
        self.built = True

    def call(self, x: tf.Tensor, valid: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """[N, h, w, in] -> [N, h, w, filters[-1]]; `valid` bool[N], see `norm_of_rois`."""
        for conv in self.convs:
            x = conv(x, valid, training=training)
        return x

    def compute_output_shape(self, input_shape: tuple, *_: Any) -> tuple:
        """[N, h, w, filters[-1]]."""
        for conv in self.convs:
            input_shape = conv.compute_output_shape(input_shape)
        return input_shape


def float32_output(x: tf.Tensor) -> tf.Tensor:
    """Predictions leave a room in float32, whatever the precision policy."""
    return tf.cast(x, tf.float32)


def named_variables(model: keras.Model) -> dict[str, Any]:
    """The model's weights by stable name: "backbone/stage2_block1_conv1/kernel".

    The name is the variable's path below the model, so it does not depend on the model's own name.
    """
    named: dict[str, Any] = {}
    for layer in _rooms(model):
        for variable in layer.weights:
            path = variable.path.removeprefix(f"{model.name}/")
            if layer is not model and path.split("/")[0] != layer.name:
                path = f"{layer.name}/{path}"  # a functional model's layers do not know the model's name
            if path in named and named[path] is not variable:
                raise ValueError(f"two variables of {model.name} share the name {path}")
            named[path] = variable
    return named


def _rooms(model: keras.Model) -> list[keras.layers.Layer]:
    is_functional = hasattr(model, "operations") and getattr(model, "inputs", None) is not None
    return [model] if is_functional else list(model.layers)
