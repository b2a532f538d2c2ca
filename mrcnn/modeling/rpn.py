"""Region proposal network. Ref: Faster R-CNN, section 3.1; Feature Pyramid Networks, section 4.1."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from mrcnn.base_config import BaseConfig, ConfigError
from mrcnn.modeling.initializers import normal_initializer
from mrcnn.modeling.layers import ConvNorm, float32_output
from mrcnn.ops import anchors as anchor_ops
from mrcnn.ops import boxes as box_ops
from mrcnn.ops import losses
from mrcnn.ops.matching import match_boxes
from mrcnn.ops.nms import batched_nms
from mrcnn.ops.pyramid import gather_patches
from mrcnn.ops.sampling import sample_labels
from mrcnn.structures.tensors import Batch, LossTerm, Proposals, RPNOutput

# A config comes from a file as well, and a number in it must not decide how much memory is taken.
_MAX_CONVS = 64
_MAX_PER_CELL = 10_000


@dataclasses.dataclass(frozen=True)
class AnchorConfig(BaseConfig):
    """Anchor boxes: one tuple of sizes per pyramid level, the same aspect ratios on all."""

    sizes: tuple[tuple[float, ...], ...] = ((32.0,), (64.0,), (128.0,), (256.0,), (512.0,))  # sqrt(area), pixels
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)  # height / width, unless ratio_is says otherwise
    ratio_is: Literal["height_over_width", "width_over_height"] = "height_over_width"
    order: anchor_ops.Order = "size_major"  # of a cell's anchors and so of the channels: sizes or ratios vary slowest
    rounding: anchor_ops.Rounding = "none"  # see `ops.anchors.cell_anchors`
    offset: float = 0.0  # center of a cell's anchors, in strides: 0 its corner, 0.5 its middle
    # "nominal": each level's own. "from_sizes": canvas side // cells, which differs where the canvas is no multiple of
    # the level's stride; the canvas is the first level times its stride.
    stride: Literal["nominal", "from_sizes"] = "nominal"
    end_offset: float = 0.0  # of y2 and x2 from the box's edge, as `InputConfig.end_offset`

    def __post_init__(self) -> None:
        counts = {len(level) for level in self.sizes}
        if len(counts) != 1 or not self.ratios or 0 in counts:
            raise ConfigError(f"anchors: every level needs the same number of sizes, at least one; got {self.sizes}")
        if self.per_cell > _MAX_PER_CELL:
            raise ConfigError(f"anchors: {self.per_cell} for each feature cell, expected at most {_MAX_PER_CELL}")

    @property
    def per_cell(self) -> int:
        """Anchors per feature cell."""
        return len(self.sizes[0]) * len(self.ratios)

    def cells(self, level: int, stride: float) -> np.ndarray:
        """f32[per_cell, 4], the anchors of one cell of a level (its place among the sizes), centerd at the origin."""
        tall = self.ratio_is == "height_over_width"
        ratios = [ratio if tall else 1.0 / ratio for ratio in self.ratios]
        cells = anchor_ops.cell_anchors(self.sizes[level], ratios, self.order, self.rounding, stride)
        return cells + np.array([0.0, 0.0, self.end_offset, self.end_offset], np.float32)


@dataclasses.dataclass(frozen=True)
class RPNConfig(BaseConfig):
    """Configuration of the region proposal network; defaults are those of Mask R-CNN with FPN."""

    anchors: AnchorConfig = AnchorConfig()
    levels: tuple[str, ...] = ("p2", "p3", "p4", "p5", "p6")
    channels: int = 256  # of the hidden convolutions
    num_convs: int = 1  # hidden convolutions
    fg_iou: float = 0.7  # anchors that overlap an object at least so much are positive
    bg_iou: float = 0.3  # below this, negative; between, ignored
    batch_per_image: int = 256  # anchors sampled per image for the loss
    positive_fraction: float = 0.5
    # Losses are divided by batch_per_image times the images, or by the number of anchors actually sampled. "means": the
    # box loss is the mean over its elements instead, four for each positive anchor.
    normalizer: Literal["batch_per_image", "sampled", "means"] = "batch_per_image"
    # "sigmoid": one logit for each anchor; "softmax": one for background and one for an object, which compete.
    objectness: Literal["sigmoid", "softmax"] = "sigmoid"
    # A negative anchor is ignored where its IoU with a crowd region reaches this; None: where half of it lies inside.
    crowd_iou: float | None = None
    match_edges: bool = False  # targets are those of the boxes' edges though anchors.end_offset names another frame
    delta_weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)  # (dy, dx, dh, dw)
    max_log_scale: float | None = box_ops.MAX_LOG_SCALE  # of decoded dh and dw; None: unbounded
    smooth_l1_beta: float = 1.0 / 9.0
    nms_iou: float = 0.7
    nms_across_levels: bool = False  # one NMS, and one choice of the best before it, for all levels together
    pre_nms_train: int = 2000  # best anchors that enter NMS, per level unless nms_across_levels
    pre_nms_test: int = 1000
    post_nms_train: int = 2000  # proposals per image
    post_nms_test: int = 1000
    min_size: float = 0.0  # proposals with a side of at most this many pixels are dropped; negative: none are
    loss_weight: float = 1.0
    box_loss_weight: float | None = None  # of the box term alone; None: loss_weight

    def __post_init__(self) -> None:
        if len(self.anchors.sizes) != len(self.levels):
            raise ConfigError(f"rpn: {len(self.levels)} levels but anchor sizes for {len(self.anchors.sizes)}")
        if not 1 <= self.num_convs <= _MAX_CONVS:
            raise ConfigError(f"rpn.num_convs: expected 1 to {_MAX_CONVS}, got {self.num_convs}")

    def on_one_map(self, level: str) -> RPNConfig:
        """The same network on a single map, which has the anchors of all levels.

        Ref: Faster R-CNN, section 3.3; the numbers before and after NMS as in its published code.
        """
        sizes = tuple(size for of_level in self.anchors.sizes for size in of_level)
        return dataclasses.replace(
            self,
            anchors=dataclasses.replace(self.anchors, sizes=(sizes,)),
            levels=(level,),
            pre_nms_train=12_000,
            pre_nms_test=6_000,
            post_nms_train=2_000,
        )

    def build(self, in_channels: int, strides: Mapping[str, int], name: str = "rpn") -> RPN:
        """The network with its weights created, for a pyramid of the given channels and strides."""
        layer = RPN(self, strides, name=name)
        layer.build((None, None, None, in_channels))
        return layer


class AnchorSample(NamedTuple):
    """Anchors that train the network, n slots an image."""

    index: tf.Tensor  # i32[B, n], which anchor
    foreground: tf.Tensor  # bool[B, n]
    valid: tf.Tensor  # bool[B, n]
    gt_boxes: tf.Tensor  # f32[B, n, 4], the object of each foreground anchor


class RPN(keras.layers.Layer):
    """Objectness and box deltas for every anchor; the proposals they make; their losses.

    Args:
        config: config.
        strides: pixels per cell of each pyramid level, by name.
    """

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
        self.deltas = ConvNorm(4 * per_cell, 1, name="deltas", kernel_initializer=normal_initializer(0.01))

    def build(self, input_shape: tuple) -> None:
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
            stride = self.strides[level]
            if anchors.stride == "from_sizes":
                stride = (canvas[0] // height, canvas[1] // width)
            size = height * width * len(cells)
            batch = tf.shape(feature)[0]
            logits.append(tf.reshape(level_logits, [batch, size]))
            deltas.append(tf.reshape(level_deltas, [batch, size, 4]))
            grids.append(anchor_ops.grid_anchors(height, width, stride, cells, anchors.offset))
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
        """Boxes of the model's frame in the one that targets are computed in, f32[..., 4]."""
        if not self.config.match_edges:
            return boxes
        end = self.config.anchors.end_offset
        return boxes - tf.constant([0.0, 0.0, end, end])

    def from_target_frame(self, boxes: tf.Tensor) -> tf.Tensor:
        """The inverse of `in_target_frame`."""
        return 2.0 * boxes - self.in_target_frame(boxes)

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
            logits f32[B, n] and deltas f32[B, n, 4].
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
        deltas = tf.reshape(float32_output(self.deltas(hidden)), [-1, per_cell, 4])
        logits, deltas = (tf.gather(x, of_cell, batch_dims=1) for x in (logits, deltas))
        return tf.reshape(logits, tf.shape(index)), tf.reshape(deltas, [*tf.unstack(tf.shape(index)), 4])

    def propose(self, output: RPNOutput, window: tf.Tensor, for_training: bool) -> Proposals:
        """The best boxes of each image; see `proposals_of`."""
        return proposals_of(output, window, self.config, for_training)

    def sample_anchors(self, output: RPNOutput, batch: Batch) -> AnchorSample:
        """The anchors the losses are taken on.

        Args:
            output: this layer's predictions.
            batch: with ground truth; `seed` decides the sample, image by image.

        Returns:
            AnchorSample of at most `batch_per_image` slots. Ref: Faster R-CNN, section 3.1.3.
        """
        config = self.config
        n, fraction = config.batch_per_image, config.positive_fraction
        num_anchors = output.anchors.shape[0]
        if num_anchors is not None and num_anchors < n:  # slots that cannot be filled would only cost memory
            max_positives = int(n * fraction)
            n = num_anchors
            fraction = min(1.0, (max_positives + 0.5) / max(n, 1))

        anchors = self.in_target_frame(output.anchors)

        def one_image(ground_truth: Batch) -> AnchorSample:
            matches = match_boxes(
                anchors,
                self.in_target_frame(ground_truth["gt_boxes"]),
                ground_truth["gt_valid"],
                ground_truth["gt_crowd"],
                config.fg_iou,
                config.bg_iou,
                allow_low_quality=True,
                crowd_iou=config.crowd_iou,
            )
            sample = sample_labels(matches.labels, n, fraction, ground_truth["seed"])
            gt_boxes = tf.gather(ground_truth["gt_boxes"], tf.gather(matches.gt_index, sample.index))
            return AnchorSample(sample.index, sample.foreground, sample.valid, gt_boxes)

        # Image by image: the overlap matrix of a large image alone has A x G entries.
        return tf.map_fn(
            one_image,
            {k: batch[k] for k in ("gt_boxes", "gt_valid", "gt_crowd", "seed")},
            fn_output_signature=AnchorSample(
                tf.TensorSpec([n], tf.int32),
                tf.TensorSpec([n], tf.bool),
                tf.TensorSpec([n], tf.bool),
                tf.TensorSpec([n, 4], tf.float32),
            ),
        )

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
        config = self.config
        index, foreground, valid, gt_boxes = self.sample_anchors(output, batch) if sample is None else sample
        if features is not None and self._are_few(index, output) and len(self.convs) == 1:
            logits, deltas = self._predict_at(features, index)
        else:
            logits = tf.gather(output.logits, index, batch_dims=1)  # [B, n]
            deltas = tf.gather(output.deltas, index, batch_dims=1)  # [B, n, 4]
        anchors, gt_boxes = map(self.in_target_frame, (tf.gather(output.anchors, index), gt_boxes))
        targets = box_ops.encode_deltas(gt_boxes, anchors, config.delta_weights)
        objectness = losses.sigmoid_cross_entropy(logits, tf.cast(foreground, tf.float32))
        box = tf.reduce_sum(losses.smooth_l1(deltas, targets, config.smooth_l1_beta), -1)
        count = tf.cast(config.batch_per_image * tf.shape(index)[0], tf.float32)
        if config.normalizer != "batch_per_image":
            count = tf.reduce_sum(tf.cast(valid, tf.float32))
        box_count = 4.0 * tf.reduce_sum(tf.cast(foreground, tf.float32)) if config.normalizer == "means" else count
        weight, box_weight = config.loss_weight, config.box_loss_weight
        box_weight = weight if box_weight is None else box_weight
        return {
            "rpn_objectness": LossTerm(weight * losses.masked_sum(objectness, valid), count),
            "rpn_box": LossTerm(box_weight * losses.masked_sum(box, foreground), box_count),
        }


class Candidates(NamedTuple):
    """Boxes that enter NMS: the best of each level, K per image."""

    anchors: tf.Tensor  # f32[B, K, 4]
    boxes: tf.Tensor  # f32[B, K, 4], the anchors refined, not yet clipped
    scores: tf.Tensor  # f32[B, K], logits
    levels: tf.Tensor  # i32[B, K], place of the level


def candidates_of(output: RPNOutput, config: RPNConfig, for_training: bool) -> Candidates:
    """The best anchors of each level, refined; without gradient. Arguments as for `proposals_of`."""
    pre_nms = config.pre_nms_train if for_training else config.pre_nms_test
    logits, deltas = tf.stop_gradient(output.logits), tf.stop_gradient(output.deltas)
    level_sizes = [sum(output.level_sizes)] if config.nms_across_levels else output.level_sizes
    found = []
    start: Any = 0
    for level, size in enumerate(level_sizes):
        count = min(pre_nms, size) if isinstance(size, int) else tf.minimum(pre_nms, size)
        level_logits, index = tf.math.top_k(logits[:, start : start + size], count)
        level_deltas = tf.gather(deltas[:, start : start + size], index, batch_dims=1)  # [B, k, 4]
        level_anchors = tf.gather(output.anchors[start : start + size], index)  # [B, k, 4]
        boxes = box_ops.decode_deltas(level_deltas, level_anchors, config.delta_weights, config.max_log_scale)
        found.append((level_anchors, boxes, level_logits, tf.fill(tf.shape(level_logits), level)))
        start += size
    return Candidates(*(tf.concat(parts, 1) for parts in zip(*found, strict=True)))


def select_candidates(
    candidates: Candidates, window: tf.Tensor, config: RPNConfig, for_training: bool
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """What NMS keeps of candidates.

    Returns:
        the candidates' boxes clipped to the window, f32[B, K, 4]; which of them are kept, best first, i32[B, P], and
        bool[B, P], whether that slot is filled.
    """
    boxes = box_ops.clip_boxes(candidates.boxes, window)
    index, valid = batched_nms(
        boxes,
        candidates.scores,
        None if config.nms_across_levels else candidates.levels,
        config.nms_iou,
        config.post_nms_train if for_training else config.post_nms_test,
        valid=box_ops.is_nonempty(boxes, config.min_size),
    )
    return boxes, index, valid


def proposals_of(output: RPNOutput, window: tf.Tensor, config: RPNConfig, for_training: bool) -> Proposals:
    """The best boxes of each image: top-k per level, decoded, clipped, then NMS within each level.

    Args:
        output: the network's predictions.
        window: f32[B, 4], (y1, x1, y2, x2), pixels of the padded image; boxes are clipped to it.
        config: config.
        for_training: use the larger training counts.

    Returns:
        Proposals, without gradient. Ref: Feature Pyramid Networks, section 4.1.
    """
    candidates = candidates_of(output, config, for_training)
    boxes, index, valid = select_candidates(candidates, window, config, for_training)
    kept_scores = tf.sigmoid(tf.gather(candidates.scores, index, batch_dims=1))
    return Proposals(
        tf.gather(boxes, index, batch_dims=1),  # [B, P, 4]
        tf.where(valid, kept_scores, 0.0),
        valid,
    )


def _height_width(feature: tf.Tensor) -> list[Any]:
    """Rows and columns of a feature map, int where known, else i32[]."""
    return [feature.shape[i] if feature.shape[i] is not None else tf.shape(feature)[i] for i in (1, 2)]
