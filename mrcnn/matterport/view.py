"""The model as matterport's graph: symbolic tensors by its layer names, for `run_graph` and models built on them.

The tensors are Keras tensors over the components of this package's model and share its weights. What they hold is in
matterport's units: normalized boxes, probabilities and deltas with the background first.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from mrcnn.matterport.graph import as_rows
from mrcnn.matterport.graph_boxes import sides
from mrcnn.matterport.graph_networks import Step, class_outputs, two_class_logits, with_background
from mrcnn.modeling.heads.box import BoxPrediction
from mrcnn.modeling.normalize import AffineBatchNorm
from mrcnn.modeling.rpn import candidates_of, select_candidates
from mrcnn.structures.tensors import Proposals, RPNOutput

OUTPUTS = ("mrcnn_detection", "mrcnn_class", "mrcnn_bbox", "mrcnn_mask", "ROI", "rpn_class", "rpn_bbox")
"""Layers whose outputs are those of the model, in order."""
_ROI_TENSORS = {
    "ROI/pre_nms_anchors:0": "pre_nms_anchors",
    "ROI/refined_anchors:0": "refined_anchors",
    "ROI/refined_anchors_clipped:0": "refined_anchors_clipped",
    "ROI/rpn_non_max_suppression:0": "post_nms_index",
    "ROI/rpn_non_max_suppression/NonMaxSuppressionV2:0": "post_nms_index",
    "ROI/rpn_non_max_suppression/NonMaxSuppressionV3:0": "post_nms_index",
}
_BLOCK_OUT = re.compile(r"res([2-5])([a-z])_out")
_BRANCH = re.compile(r"(?:res|bn)[2-5][a-z]_branch(?:2a|2b|2c|1)|conv1|bn_conv1")


class GraphView:
    """Keras tensors of a model by the names of matterport's layers.

    Args:
        model: a `MaskRCNN` of this package.
        config: the `Config` it was made of.
        theirs: layer of matterport's -> path of our layer, such as "res2a_branch2a" -> "stage2_block1_conv1", for those
            in the backbone.
    """

    def __init__(self, model: Any, config: Any, theirs: dict[str, str]) -> None:
        self._model, self._config, self._theirs = model, config, theirs
        image = keras.Input((None, None, int(config.IMAGE_CHANNEL_COUNT)), name="input_image")
        meta = keras.Input((int(config.IMAGE_META_SIZE),), name="input_image_meta")
        anchors = keras.Input((None, 4), name="input_anchors")
        self.inputs = [image, meta, anchors]
        self._known: dict[str, Any] = {"input_image": image, "input_image_meta": meta, "input_anchors": anchors}

    def tensor(self, name: str) -> Any:
        """The output of a layer.

        Raises:
            ValueError: this package computes it together with something else, or there is no such layer; says what
                there is.
        """
        if name not in self._known:
            self._make(name)
        return self._known[name]

    def ancestor(self, name: str) -> Any:
        """A tensor inside the layer "ROI" by the name it had in TensorFlow 1; None for any other."""
        known = _ROI_TENSORS.get(name)
        return None if known is None else self.tensor(known)

    @functools.cached_property
    def model(self) -> keras.Model:
        """[molded images, image_metas, anchors] to the outputs of `OUTPUTS`."""
        return keras.Model(self.inputs, [self.tensor(name) for name in OUTPUTS])

    def run(self, tensors: Sequence[Any], values: Sequence[Any]) -> list[Any]:
        """The values of some tensors for values of the three inputs."""
        distinct = list({id(t): t for t in tensors}.values())
        given = [tf.convert_to_tensor(value, tf.float32) for value in values]
        results = tf.nest.flatten(keras.Model(self.inputs, distinct)(given, training=False))
        by_id = {id(t): v.numpy() for t, v in zip(distinct, results, strict=True)}
        return [by_id[id(t)] for t in tensors]

    # Making tensors: each group of names is one step

    def _make(self, name: str) -> None:
        backbone = self._model.backbone
        block = _BLOCK_OUT.fullmatch(name)
        if block:
            inner = f"stage{block[1]}_block{ord(block[2]) - ord('a') + 1}_out"
            if inner in {layer.name for layer in backbone.layers}:
                self._known[name] = self._backbone([backbone.get_layer(inner).output])[0]
                return
        if _BRANCH.fullmatch(name) and name in self._theirs:
            self._known[name] = self._convolution(name)
            return
        for names, make in (
            (tuple(f"fpn_{level}" for level in self._model.neck.strides), self._features),
            (("rpn_class_logits", "rpn_class", "rpn_bbox"), self._rpn),
            (("ROI", *dict.fromkeys(_ROI_TENSORS.values())), self._proposals),
            (("mrcnn_class_logits", "mrcnn_class", "mrcnn_bbox"), self._classes),
            (("roi_align_classifier",), self._pooled),
            (("mrcnn_detection",), self._detections),
            (("mrcnn_mask",), self._masks),
        ):
            if name in names:
                tensors = make()
                self._known |= dict(
                    zip(names, tensors if isinstance(tensors, (list, tuple)) else [tensors], strict=True)
                )
                return
        raise ValueError(
            f"layer {name!r} has no output here; there are input_image, conv1, res2a_branch2a, res2a_out and so on, "
            "fpn_p2 to fpn_p6, rpn_class_logits, rpn_class, rpn_bbox, ROI, roi_align_classifier, mrcnn_class_logits, "
            "mrcnn_class, mrcnn_bbox, mrcnn_detection, mrcnn_mask"
        )

    def _pixels(self) -> Any:
        if "pixels" not in self._known:
            mean = tf.constant(self._config.MEAN_PIXEL, tf.float32)
            normalize = self._model.normalize
            self._known["pixels"] = Step(lambda x: normalize(x + mean), [normalize], name="pixels")(self.inputs[0])
        return self._known["pixels"]

    def _backbone(self, outputs: list[Any]) -> list[Any]:
        made = keras.Model(self._model.backbone.input, outputs)(self._pixels())
        return list(made) if isinstance(made, (list, tuple)) else [made]

    def _convolution(self, name: str) -> Any:
        """A convolution with its bias, where it has one, or with the norm after it for bn...."""
        layer = self._model.backbone.get_layer(self._theirs[name])

        def convolve(x: tf.Tensor) -> tf.Tensor:
            y = layer.convolve(x)
            if name.startswith("bn"):
                return layer.norm(y)
            return y + layer.norm.bias if isinstance(layer.norm, AffineBatchNorm) else y

        return Step(convolve, [layer], name=name)(self._backbone([layer.input])[0])

    def _features(self) -> list[Any]:
        names = list(self._model.neck.strides)
        neck, backbone = self._model.neck, self._model.backbone

        def run(pixels: tf.Tensor) -> list[tf.Tensor]:
            features = neck(backbone(pixels, training=False), training=False)
            return [features[name] for name in names]

        return Step(run, [neck, backbone], name="fpn")(self._pixels())

    def _maps(self) -> list[Any]:
        return [self.tensor(f"fpn_{level}") for level in self._model.neck.strides]

    def _as_dict(self, maps: Sequence[Any]) -> dict[str, Any]:
        return dict(zip(self._model.neck.strides, maps, strict=True))

    def _rpn(self) -> list[Any]:
        rpn = self._model.rpn

        def run(*maps: tf.Tensor) -> list[tf.Tensor]:
            features = self._as_dict(maps)
            output = rpn(features, training=False)
            logits = two_class_logits(output.logits)
            if rpn.config.objectness == "softmax":
                logits = rpn.class_logits(features)
            return [logits, tf.nn.softmax(logits), output.deltas]

        return Step(run, [rpn], name="rpn_outputs")(*self._maps())

    def _proposals(self) -> list[Any]:
        config = self._model.config.rpn

        def run(logits: tf.Tensor, deltas: tf.Tensor, meta: tf.Tensor, anchors: tf.Tensor, *maps: tf.Tensor) -> Any:
            scale = sides(meta[0, 4:6])
            cells = [len(cell) for cell in self._model.rpn.cells]
            used = [self._as_dict(maps)[level] for level in config.levels]
            sizes = [tf.shape(x)[1] * tf.shape(x)[2] * n for x, n in zip(used, cells, strict=True)]
            output = RPNOutput(logits[..., 1] - logits[..., 0], deltas, anchors[0] * scale, sizes)
            candidates = candidates_of(output, config, for_training=False)
            whole = tf.concat([tf.zeros([2]), scale[:2]], 0)
            window = tf.tile(whole[tf.newaxis], [tf.shape(logits)[0], 1])
            boxes, index, valid = select_candidates(candidates, window, config, for_training=False)
            kept = tf.gather(boxes, index, batch_dims=1) * tf.cast(valid, tf.float32)[..., tf.newaxis]
            first = tf.boolean_mask(index[0], valid[0])
            return [kept / scale, candidates.anchors / scale, candidates.boxes / scale, boxes / scale, first]

        names = ("rpn_class_logits", "rpn_bbox")
        return Step(run, name="ROI")(*(self.tensor(n) for n in names), *self.inputs[1:], *self._maps())

    def _window(self, meta: tf.Tensor) -> tf.Tensor:
        """f32[B, 4], of the images in the padded ones, in terms of the model's boxes."""
        end = self._model.config.input.end_offset
        return tf.cast(meta[:, 7:11], tf.float32) + tf.constant([0.0, 0.0, end, end])

    def _classes(self) -> list[Any]:
        head = self._model.box_head

        def run(rois: tf.Tensor, meta: tf.Tensor, *maps: tf.Tensor) -> list[tf.Tensor]:
            valid = tf.ones(tf.shape(rois)[:2], tf.bool)  # padding gets values too, as it always did
            pred = head(self._as_dict(maps), rois * sides(meta[0, 4:6]), valid, self._window(meta), training=False)
            return class_outputs(pred)

        return Step(run, [head], name="mrcnn_classes")(self.tensor("ROI"), self.inputs[1], *self._maps())

    def _pooled(self) -> Any:
        head = self._model.box_head

        def run(rois: tf.Tensor, meta: tf.Tensor, *maps: tf.Tensor) -> tf.Tensor:
            valid = tf.ones(tf.shape(rois)[:2], tf.bool)
            return head.pooler(self._as_dict(maps), rois * sides(meta[0, 4:6]), valid, training=False)

        return Step(run, [head], name="roi_align_classifier")(self.tensor("ROI"), self.inputs[1], *self._maps())

    def _detections(self) -> Any:
        head = self._model.box_head

        def run(rois: tf.Tensor, logits: tf.Tensor, deltas: tf.Tensor, meta: tf.Tensor) -> tf.Tensor:
            scale = sides(meta[0, 4:6])
            valid = tf.reduce_any(rois != 0.0, -1)
            pred = BoxPrediction(logits, tf.einsum("bsck->bskc", deltas[:, :, 1:]))
            proposals = Proposals(rois * scale, tf.cast(valid, tf.float32), valid)
            detections = head.detect(pred, proposals, self._window(meta))
            return as_rows(detections.boxes / scale, detections.class_ids, detections.scores)

        names = ("ROI", "mrcnn_class_logits", "mrcnn_bbox")
        return Step(run, [head], name="mrcnn_detection")(*(self.tensor(n) for n in names), self.inputs[1])

    def _masks(self) -> Any:
        head = self._model.heads[0]

        def run(rows: tf.Tensor, meta: tf.Tensor, *maps: tf.Tensor) -> tf.Tensor:
            boxes = rows[..., :4] * sides(meta[0, 4:6])
            valid = rows[..., 4] > 0
            logits = head(self._as_dict(maps), boxes, valid, self._window(meta), training=False)
            return with_background(tf.sigmoid(logits), axis=-1)

        return Step(run, [head], name="mrcnn_mask")(self.tensor("mrcnn_detection"), self.inputs[1], *self._maps())
