"""Region proposal network. Ref: Faster R-CNN, section 3.1; Feature Pyramid Networks, section 4.1."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from mrcnn.modeling.backbones.base import ConvNorm
from mrcnn.modeling.base import float32_output, normal_initializer
from mrcnn.ops import anchors as anchor_ops
from mrcnn.ops import boxes as box_ops
from mrcnn.ops import losses
from mrcnn.ops.matching import match_boxes
from mrcnn.ops.nms import batched_nms
from mrcnn.ops.sampling import sample_labels
from mrcnn.settings import Settings, SettingsError
from mrcnn.structures import Batch, LossTerm, Proposals, RPNOutput


@dataclasses.dataclass(frozen=True)
class AnchorConfig(Settings):
    """Anchor boxes: one tuple of sizes per pyramid level, the same aspect ratios on all."""

    sizes: tuple[tuple[float, ...], ...] = ((32.0,), (64.0,), (128.0,), (256.0,), (512.0,))  # sqrt(area), pixels
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)  # height / width

    def __post_init__(self) -> None:
        counts = {len(level) for level in self.sizes}
        if len(counts) != 1 or not self.ratios or 0 in counts:
            raise SettingsError(f"anchors: every level needs the same number of sizes, at least one; got {self.sizes}")

    @property
    def per_cell(self) -> int:
        """Anchors per feature cell."""
        return len(self.sizes[0]) * len(self.ratios)


@dataclasses.dataclass(frozen=True)
class RPNConfig(Settings):
    """Settings of the region proposal network; defaults are those of Mask R-CNN with FPN."""

    anchors: AnchorConfig = AnchorConfig()
    levels: tuple[str, ...] = ("p2", "p3", "p4", "p5", "p6")
    channels: int = 256  # of the hidden convolution
    fg_iou: float = 0.7  # anchors that overlap an object at least so much are positive
    bg_iou: float = 0.3  # below this, negative; between, ignored
    batch_per_image: int = 256  # anchors sampled per picture for the loss
    positive_fraction: float = 0.5
    smooth_l1_beta: float = 1.0 / 9.0
    nms_iou: float = 0.7
    pre_nms_train: int = 2000  # best anchors per level that enter NMS
    pre_nms_test: int = 1000
    post_nms_train: int = 2000  # proposals per picture
    post_nms_test: int = 1000
    min_size: float = 0.0  # proposals with a side of at most this many pixels are dropped
    loss_weight: float = 1.0

    def __post_init__(self) -> None:
        if len(self.anchors.sizes) != len(self.levels):
            raise SettingsError(f"rpn: {len(self.levels)} levels but anchor sizes for {len(self.anchors.sizes)}")

    def build(self, in_channels: int, strides: Mapping[str, int], name: str = "rpn") -> RPN:
        """The network with its weights created, for a pyramid of the given channels and strides."""
        layer = RPN(self, strides, name=name)
        layer.build((None, None, None, in_channels))
        return layer


class RPN(keras.layers.Layer):
    """Objectness and box deltas for every anchor; the proposals they make; their losses.

    Args:
        config: settings.
        strides: pixels per cell of each pyramid level, by name.
    """

    def __init__(self, config: RPNConfig, strides: Mapping[str, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.strides = dict(strides)
        self.cells = [anchor_ops.cell_anchors(sizes, config.anchors.ratios) for sizes in config.anchors.sizes]
        per_cell = config.anchors.per_cell
        self.conv = ConvNorm(
            config.channels, 3, activation="relu", name="conv", kernel_initializer=normal_initializer(0.01)
        )
        self.objectness = ConvNorm(per_cell, 1, name="objectness", kernel_initializer=normal_initializer(0.01))
        self.deltas = ConvNorm(4 * per_cell, 1, name="deltas", kernel_initializer=normal_initializer(0.01))

    def build(self, input_shape: tuple) -> None:
        """Create the weights, shared by all levels."""
        if self.built:
            return
        self.conv.build(input_shape)
        hidden = (*input_shape[:-1], self.config.channels)
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
        for level, cells in zip(self.config.levels, self.cells, strict=True):
            feature = features[level]
            hidden = self.conv(feature, training=training)
            level_logits = float32_output(self.objectness(hidden))
            level_deltas = float32_output(self.deltas(hidden))
            height, width = (feature.shape[i] if feature.shape[i] is not None else tf.shape(feature)[i] for i in (1, 2))
            size = height * width * len(cells)
            batch = tf.shape(feature)[0]
            logits.append(tf.reshape(level_logits, [batch, size]))
            deltas.append(tf.reshape(level_deltas, [batch, size, 4]))
            grids.append(anchor_ops.grid_anchors(height, width, self.strides[level], cells))
            sizes.append(size)
        return RPNOutput(tf.concat(logits, 1), tf.concat(deltas, 1), tf.concat(grids, 0), sizes)

    def propose(self, output: RPNOutput, window: tf.Tensor, for_training: bool) -> Proposals:
        """The best boxes of each picture: top-k per level, decoded, clipped, then NMS within each level.

        Args:
            output: this layer's predictions.
            window: f32[B, 4], (y1, x1, y2, x2), pixels of the padded picture; boxes are clipped to it.
            for_training: use the larger training counts.

        Returns:
            Proposals, without gradient. Ref: Feature Pyramid Networks, section 4.1.
        """
        config = self.config
        pre_nms = config.pre_nms_train if for_training else config.pre_nms_test
        post_nms = config.post_nms_train if for_training else config.post_nms_test
        logits, deltas = tf.stop_gradient(output.logits), tf.stop_gradient(output.deltas)
        scores, boxes, levels = [], [], []
        start: Any = 0
        for level, size in enumerate(output.level_sizes):
            count = min(pre_nms, size) if isinstance(size, int) else tf.minimum(pre_nms, size)
            level_logits, index = tf.math.top_k(logits[:, start : start + size], count)
            level_deltas = tf.gather(deltas[:, start : start + size], index, batch_dims=1)  # [B, k, 4]
            level_anchors = tf.gather(output.anchors[start : start + size], index)  # [B, k, 4]
            scores.append(level_logits)
            boxes.append(box_ops.decode_deltas(level_deltas, level_anchors))
            levels.append(tf.fill(tf.shape(level_logits), level))
            start += size
        all_boxes = box_ops.clip_boxes(tf.concat(boxes, 1), window)
        all_scores = tf.concat(scores, 1)
        index, valid = batched_nms(
            all_boxes,
            all_scores,
            tf.concat(levels, 1),
            config.nms_iou,
            post_nms,
            valid=box_ops.is_nonempty(all_boxes, config.min_size),
        )
        kept_scores = tf.sigmoid(tf.gather(all_scores, index, batch_dims=1))
        return Proposals(
            tf.gather(all_boxes, index, batch_dims=1),  # [B, P, 4]
            tf.where(valid, kept_scores, 0.0),
            valid,
        )

    def loss(self, output: RPNOutput, batch: Batch) -> dict[str, LossTerm]:
        """Objectness and box loss on sampled anchors, both divided by the anchors sampled per picture.

        Args:
            output: this layer's predictions.
            batch: with truth; `seed` decides the sample, picture by picture.

        Returns:
            "rpn_objectness" and "rpn_box". Ref: Faster R-CNN, equation 1.
        """
        config = self.config

        def one_picture(truth: Batch) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
            matches = match_boxes(
                output.anchors,
                truth["gt_boxes"],
                truth["gt_valid"],
                truth["gt_crowd"],
                config.fg_iou,
                config.bg_iou,
                allow_low_quality=True,
            )
            sample = sample_labels(matches.labels, config.batch_per_image, config.positive_fraction, truth["seed"])
            gt_boxes = tf.gather(truth["gt_boxes"], tf.gather(matches.gt_index, sample.index))
            return sample.index, sample.foreground, sample.valid, gt_boxes

        n = config.batch_per_image
        # Picture by picture: the overlap matrix of a large picture alone has A x G entries.
        index, foreground, valid, gt_boxes = tf.map_fn(
            one_picture,
            {k: batch[k] for k in ("gt_boxes", "gt_valid", "gt_crowd", "seed")},
            fn_output_signature=(
                tf.TensorSpec([n], tf.int32),
                tf.TensorSpec([n], tf.bool),
                tf.TensorSpec([n], tf.bool),
                tf.TensorSpec([n, 4], tf.float32),
            ),
        )
        logits = tf.gather(output.logits, index, batch_dims=1)  # [B, n]
        deltas = tf.gather(output.deltas, index, batch_dims=1)  # [B, n, 4]
        targets = box_ops.encode_deltas(gt_boxes, tf.gather(output.anchors, index))
        objectness = losses.sigmoid_cross_entropy(logits, tf.cast(foreground, tf.float32))
        box = tf.reduce_sum(losses.smooth_l1(deltas, targets, config.smooth_l1_beta), -1)
        count = tf.cast(n * tf.shape(index)[0], tf.float32)
        weight = config.loss_weight
        return {
            "rpn_objectness": LossTerm(weight * losses.masked_sum(objectness, valid), count),
            "rpn_box": LossTerm(weight * losses.masked_sum(box, foreground), count),
        }
