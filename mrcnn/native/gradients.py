"""The gradients of the RoI ops, by which TensorFlow finds them. Deformable convolution brings its own along."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import tensorflow as tf

Tensor: TypeAlias = tf.Tensor


def register_gradients(library: Any) -> None:
    """Gradients in the features, themselves differentiable in what flows into them; boxes get none.

    Args:
        library: the loaded ops, once a process.
    """
    names = ("crop_height", "crop_width", "sampling_ratio", "aligned", "validate")
    single = (*names, "spatial_scale")
    several = (
        *names,
        "spatial_scales",
        "min_level",
        "level_rule",
        "level_epsilon",
        "canonical_size",
        "canonical_level",
        "end_offset",
    )

    def attributes(op: tf.Operation, names: Sequence[str]) -> dict[str, Any]:
        values = {name: op.get_attr(name) for name in names}
        return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}

    @tf.RegisterGradient("MrcnnRoiAlign")
    def _align(op: tf.Operation, upstream: Tensor) -> list[Tensor | None]:
        features, boxes, index = op.inputs
        gradient = library.mrcnn_roi_align_grad(
            gradient=upstream, boxes=boxes, box_index=index, shape=tf.shape(features), **attributes(op, single)
        )
        return [gradient, None, None]

    @tf.RegisterGradient("MrcnnRoiAlignGrad")
    def _align_again(op: tf.Operation, upstream: Tensor) -> list[Tensor | None]:
        _, boxes, index, _ = op.inputs
        pooled = library.mrcnn_roi_align(features=upstream, boxes=boxes, box_index=index, **attributes(op, single))
        return [pooled, None, None, None]

    @tf.RegisterGradient("MrcnnMultilevelRoiAlign")
    def _multilevel(op: tf.Operation, upstream: Tensor) -> list[Tensor | None]:
        *features, boxes, index = op.inputs
        shapes = [tf.shape(level) for level in features]
        gradients = library.mrcnn_multilevel_roi_align_grad(
            gradient=upstream, boxes=boxes, box_index=index, shapes=shapes, **attributes(op, several)
        )
        return [*gradients, None, None]

    @tf.RegisterGradient("MrcnnMultilevelRoiAlignGrad")
    def _multilevel_again(op: tf.Operation, *upstream: Tensor) -> list[Tensor | None]:
        _, boxes, index, *shapes = op.inputs
        pooled = library.mrcnn_multilevel_roi_align(
            features=list(upstream), boxes=boxes, box_index=index, **attributes(op, several)
        )
        return [pooled, None, None, *(None for _ in shapes)]

    @tf.RegisterGradient("MrcnnRoiPool")
    def _pool(op: tf.Operation, upstream: Tensor, _: Tensor) -> list[Tensor | None]:
        features, _, index = op.inputs
        gradient = library.mrcnn_roi_pool_grad(
            gradient=upstream, argmax=op.outputs[1], box_index=index, shape=tf.shape(features)
        )
        return [gradient, None, None]

    turned = ("crop_height", "crop_width", "stride", "sampling_ratio")

    @tf.RegisterGradient("MrcnnRotatedRoiAlign")
    def _rotated(op: tf.Operation, upstream: Tensor) -> list[Tensor | None]:
        features, boxes, index = op.inputs
        gradient = library.mrcnn_rotated_roi_align_grad(
            gradient=upstream, boxes=boxes, box_index=index, shape=tf.shape(features), **attributes(op, turned)
        )
        return [tf.cast(gradient, features.dtype), None, None]

    @tf.RegisterGradient("MrcnnRotatedRoiAlignGrad")
    def _rotated_again(op: tf.Operation, upstream: Tensor) -> list[Tensor | None]:
        gradient, boxes, index, _ = op.inputs
        pooled = library.mrcnn_rotated_roi_align(
            features=tf.cast(upstream, gradient.dtype), boxes=boxes, box_index=index, **attributes(op, turned)
        )
        return [pooled, None, None, None]
