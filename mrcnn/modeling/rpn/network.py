"""The network itself: objectness and box deltas for every anchor. Ref: Faster R-CNN, section 3.1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.modeling.initializers import normal_initializer
from mrcnn.modeling.layers import ConvNorm, float32_output
from mrcnn.modeling.rpn.config import RPNConfig
from mrcnn.modeling.rpn.losses import anchor_losses
from mrcnn.modeling.rpn.proposals import proposals_of
from mrcnn.modeling.rpn.targets import AnchorSample, from_target_frame, in_target_frame, sample_anchors
from mrcnn.ops.pyramid import gather_patches
from mrcnn.structures.tensors import Batch, LossTerm, Proposals, RPNOutput, Shape


class RPN(keras.layers.Layer):
    """Objectness and box deltas for every anchor; the proposals they make; their losses.

    Args:
        config: config.
        strides: pixels per cell of each pyramid level, by name.
    """

    built: bool

    def __init__(self, config: RPNConfig, strides: Mapping[str, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.strides = dict(strides)
        missing = [level for level in config.levels if level not in self.strides]
        if missing:
            raise ConfigError(f"rpn.levels: no level {missing[0]!r} in the neck, there are {', '.join(strides)}")
        self.cells = [config.anchors.cells(i, self.strides[level]) for i, level in enumerate(config.levels)]
        per_cell = config.anchors.per_cell
        per_anchor = 2 if config.objectness == "softmax" else 1
        names = ["conv"] if config.num_convs == 1 else [f"conv{i}" for i in range(1, config.num_convs + 1)]
        self.convs = [
            ConvNorm(config.channels, 3, activation="relu", name=name, kernel_initializer=normal_initializer(0.01))
            for name in names
        ]
        self.objectness = ConvNorm(
            per_anchor * per_cell, 1, name="objectness", kernel_initializer=normal_initializer(0.01)
        )
        self.box_size = config.geometry.size
        self.deltas = ConvNorm(self.box_size * per_cell, 1, name="deltas", kernel_initializer=normal_initializer(0.01))

    def build(self, input_shape: Shape) -> None:
        """Create the weights, shared by all levels."""
        if self.built:
            return
        hidden = (*input_shape[:-1], self.config.channels)
        for i, conv in enumerate(self.convs):
            conv.build(hidden if i else input_shape)
        self.objectness.build(hidden)
        self.deltas.build(hidden)
        self.built = True

    def call(self, features: Mapping[str, tf.Tensor], training: bool | None = None) -> RPNOutput:
        """Predict for every anchor of every level.

        Args:
            features: pyramid levels [B, H / stride, W / stride, C] by name.
            training: unused by the layers as they are; part of the Keras signature.

        Returns:
            RPNOutput over A = sum of cells x anchors per cell.
        """
        logits, deltas, grids, sizes = [], [], [], []
        anchors, finest = self.config.anchors, self.config.levels[0]
        canvas = [side * self.strides[finest] for side in _height_width(features[finest])]
        for level, cells in zip(self.config.levels, self.cells, strict=True):
            feature = features[level]
            hidden = feature
            for conv in self.convs:
                hidden = conv(hidden, training=training)
            level_logits = self._object_logits(hidden)
            level_deltas = float32_output(self.deltas(hidden))
            height, width = _height_width(feature)
            stride: Any = self.strides[level]
            if anchors.stride == "from_sizes":
                stride = (canvas[0] // height, canvas[1] // width)
            size = height * width * len(cells)
            batch = tf.shape(feature)[0]
            logits.append(tf.reshape(level_logits, [batch, size]))
            deltas.append(tf.reshape(level_deltas, [batch, size, self.box_size]))
            grids.append(anchors.grid(height, width, stride, cells))
            sizes.append(size)
        return RPNOutput(tf.concat(logits, 1), tf.concat(deltas, 1), tf.concat(grids, 0), sizes)

    def _object_logits(self, hidden: tf.Tensor) -> tf.Tensor:
        """f32[B, h, w, per_cell]; of two logits the difference, whose sigmoid is their softmax."""
        logits = float32_output(self.objectness(hidden))
        if self.config.objectness == "sigmoid":
            return logits
        return logits[..., 1::2] - logits[..., ::2]

    def class_logits(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """f32[B, A, 2], the logits of background and object of every anchor; with "softmax" objectness only.

        Args:
            features: as for `call`.
        """
        logits = []
        for level in self.config.levels:
            hidden = features[level]
            for conv in self.convs:
                hidden = conv(hidden)
            pairs = float32_output(self.objectness(hidden))
            logits.append(tf.reshape(pairs, [tf.shape(pairs)[0], -1, 2]))
        return tf.concat(logits, 1)

    def in_target_frame(self, boxes: tf.Tensor) -> tf.Tensor:
        """See `targets.in_target_frame`."""
        return in_target_frame(boxes, self.config)

    def from_target_frame(self, boxes: tf.Tensor) -> tf.Tensor:
        """See `targets.from_target_frame`."""
        return from_target_frame(boxes, self.config)

    def _are_few(self, index: tf.Tensor, output: RPNOutput) -> bool:
        """Whether patches around the anchors `index` [B, n] are less than the maps, as far as shapes tell."""
        num_anchors = output.anchors.shape[0]
        if num_anchors is None:
            return index.shape[1] <= 1024
        return 4 * index.shape[1] <= num_anchors // self.config.anchors.per_cell

    def _predict_at(self, features: Mapping[str, tf.Tensor], index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The predictions for some anchors only, from the cells they depend on; for one hidden convolution.

        A step samples 256 of an image's anchors, and the gradient of all others is 0. Going back through the whole
        maps nevertheless was a fifth of the time spent in operations (two images of 512 x 512, two loaded cores).

        Args:
            features: as for `call`.
            index: i32[B, n], anchors in the order of `RPNOutput`.

        Returns:
            logits f32[B, n] and deltas f32[B, n, box_size].
        """
        conv, per_cell = self.convs[0], self.config.anchors.per_cell
        maps = [features[level] for level in self.config.levels]
        patches = gather_patches(maps, index // per_cell, conv.kernel_size)  # [B, n, k, k, C]
        kernel = tf.cast(tf.convert_to_tensor(conv.kernel), patches.dtype)
        rows, channels = conv.kernel_size**2 * kernel.shape[2], kernel.shape[3]
        hidden = tf.matmul(tf.reshape(patches, [-1, rows]), tf.reshape(kernel, [rows, channels]))
        hidden = tf.nn.relu(tf.nn.bias_add(hidden, tf.cast(conv.bias, hidden.dtype)))
        hidden = tf.reshape(hidden, [-1, 1, 1, channels])  # [B * n, 1, 1, channels]
        of_cell = tf.reshape(index % per_cell, [-1])
        logits = tf.reshape(self._object_logits(hidden), [-1, per_cell])
        deltas = tf.reshape(float32_output(self.deltas(hidden)), [-1, per_cell, self.box_size])
        logits, deltas = (tf.gather(x, of_cell, batch_dims=1) for x in (logits, deltas))
        return tf.reshape(logits, tf.shape(index)), tf.reshape(deltas, [*tf.unstack(tf.shape(index)), self.box_size])

    def propose(self, output: RPNOutput, window: tf.Tensor, for_training: bool) -> Proposals:
        """The best boxes of each image; see `proposals_of`."""
        return proposals_of(output, window, self.config, for_training)

    def sample_anchors(self, output: RPNOutput, batch: Batch) -> AnchorSample:
        """The anchors the losses are taken on; see `targets.sample_anchors`."""
        return sample_anchors(output, batch, self.config)

    def loss(
        self,
        output: RPNOutput,
        batch: Batch,
        features: Mapping[str, tf.Tensor] | None = None,
        sample: AnchorSample | None = None,
    ) -> dict[str, LossTerm]:
        """Objectness and box loss on sampled anchors, both divided by what `config.normalizer` says.

        Args:
            output: this layer's predictions.
            batch: with ground truth; see `sample_anchors`.
            features: what `output` was predicted from. With it, where few of the anchors are sampled, the gradient goes
                through their cells alone and no longer through `output`; same loss, same gradient up to rounding.
            sample: the anchors to take the losses on; None: `sample_anchors`.

        Returns:
            "rpn_objectness" and "rpn_box". Ref: Faster R-CNN, equation 1.
        """
        sample = self.sample_anchors(output, batch) if sample is None else sample
        index = sample.index
        if features is not None and self._are_few(index, output) and len(self.convs) == 1:
            logits, deltas = self._predict_at(features, index)
        else:
            logits = tf.gather(output.logits, index, batch_dims=1)  # [B, n]
            deltas = tf.gather(output.deltas, index, batch_dims=1)  # [B, n, box_size]
        return anchor_losses(logits, deltas, tf.gather(output.anchors, index), sample, self.config)


def _height_width(feature: tf.Tensor) -> list[Any]:
    """Rows and columns of a feature map, int where known, else i32[]."""
    return [feature.shape[i] if feature.shape[i] is not None else tf.shape(feature)[i] for i in (1, 2)]
