"""`keras_model.summary()`: matterport's layers, their types, shapes and numbers of parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from mrcnn.matterport.layers import RPN, in_order, layer_type

_FROZEN = ("moving_mean", "moving_variance")
_LOSSES = ("rpn_class_loss", "rpn_bbox_loss", "mrcnn_class_loss", "mrcnn_bbox_loss", "mrcnn_mask_loss")
_AFTER = {
    "fpn_c5p5": ("fpn_p5upsampled",),
    "fpn_c4p4": ("fpn_p4add", "fpn_p4upsampled"),
    "fpn_c3p3": ("fpn_p3add", "fpn_p3upsampled"),
    "fpn_c2p2": ("fpn_p2add",),
    "mrcnn_class_bn2": ("pool_squeeze",),
    "mrcnn_class_logits": ("mrcnn_class",),
    "mrcnn_bbox_fc": ("mrcnn_bbox",),
}
"""A layer with weights -> those without that follow it."""
_TYPES = {
    "fpn_p6": "MaxPooling2D",
    "rpn_model": "Model",
    "rpn_class_logits": "Concatenate",
    "rpn_class": "Concatenate",
    "rpn_bbox": "Concatenate",
    "ROI": "ProposalLayer",
    "proposal_targets": "DetectionTargetLayer",
    "roi_align_classifier": "PyramidROIAlign",
    "roi_align_mask": "PyramidROIAlign",
    "mrcnn_class": "TimeDistributed",
    "mrcnn_bbox": "Reshape",
    "mrcnn_detection": "DetectionLayer",
    **dict.fromkeys(("anchors", "pool_squeeze", "output_rois", *_LOSSES), "Lambda"),
}


class Weight(NamedTuple):
    """A weight of a layer. leaf: such as "kernel"."""

    leaf: str
    shape: tuple[int, ...]
    trainable: bool

    @property
    def size(self) -> int:
        """Number of its elements."""
        count = 1
        for side in self.shape:
            count *= side
        return count


def lines(name: str, layers: Mapping[str, list[Weight]], config: Any, mode: str) -> Iterator[str]:
    """What `summary` prints of a model: a line for each layer that matterport gave a name, in its model's order.

    Args:
        name: of the model.
        layers: the weights of each layer that has some.
        config: the `Config`.
        mode: "training" or "inference", whose layers are not the same.
    """
    yield f'Model: "{name}"'
    yield "_" * 98
    yield f"{'Layer (type)':43} {'Output Shape':42} Param #"
    yield "=" * 98
    shapes = _shapes(layers, config, mode)
    for layer in _order(layers, mode):
        inside = RPN if layer == "rpn_model" else (layer,)
        count = sum(weight.size for part in inside for weight in layers.get(part, ()))
        yield f"{f'{layer} ({_type(layer)})':43} {_text(shapes[layer]):42} {count}"
    weights = [weight for part in layers.values() for weight in part]
    total, trainable = (sum(w.size for w in some) for some in (weights, [w for w in weights if w.trainable]))
    yield "=" * 98
    yield f"Total params: {total:,}"
    yield f"Trainable params: {trainable:,}"
    yield f"Non-trainable params: {total - trainable:,}"


def weights_of(arrays: Iterable[tuple[str, tuple[int, ...], bool]]) -> dict[str, list[Weight]]:
    """The weights of each layer.

    Args:
        arrays: ("layer/leaf", shape, whether what it is made of trains) of each.
    """
    layers: dict[str, list[Weight]] = {}
    for name, shape, trains in arrays:
        layer, _, leaf = name.rpartition("/")
        layers.setdefault(layer, []).append(Weight(leaf, tuple(shape), trains and leaf not in _FROZEN))
    for members in layers.values():
        # A bias that the norm after its convolution has taken over trains where its kernel does.
        if any(weight.leaf == "kernel" and weight.trainable for weight in members):
            members[:] = [w._replace(trainable=True) if w.leaf == "bias" else w for w in members]
    return layers


def _order(layers: Mapping[str, Any], mode: str) -> list[str]:
    """Names of layers in the order of the graph."""
    is_training = mode == "training"
    weighted = in_order(layers)
    heads = [name for name in weighted if name.startswith("mrcnn_")]
    masks = [name for name in heads if name.startswith("mrcnn_mask")]
    order = ["input_image"]
    for name in weighted:
        if name not in RPN and name not in heads:
            order += [name, *_AFTER.get(name, ())]
            if name.startswith("bn") and name.endswith("_branch2c" if name[3:4] != "a" else "_branch1"):
                order.append(f"res{name[2:4]}_out")
    order += ["fpn_p6", "rpn_model", *(["rpn_class_logits"] if is_training else []), "rpn_class", "rpn_bbox"]
    order += ["anchors" if is_training else "input_anchors", "ROI", "input_image_meta"]
    if is_training:
        inputs = ("input_gt_class_ids", "input_gt_boxes", "input_gt_masks", "input_rpn_match", "input_rpn_bbox")
        order += [*inputs, "proposal_targets"]
    order.append("roi_align_classifier")
    for name in (name for name in heads if name not in masks):
        order += [name, *_AFTER.get(name, ())]
    return [
        *order,
        *(() if is_training else ("mrcnn_detection",)),
        *(("roi_align_mask", *masks) if masks else ()),
        *(("output_rois", *_LOSSES) if is_training else ()),
    ]


def _type(name: str) -> str:
    if name.startswith("input_"):
        return "InputLayer"
    if name.startswith("fpn_") and name.endswith(("add", "upsampled")):
        return "Add" if name.endswith("add") else "UpSampling2D"
    return _TYPES.get(name) or ("Activation" if name.startswith("res") and name.endswith("_out") else layer_type(name))


def _shapes(layers: Mapping[str, list[Weight]], config: Any, mode: str) -> dict[str, Any]:
    """The output of each layer, the batch's axis first; None is any number."""
    is_training = mode == "training"
    classes, pool, side = int(config.NUM_CLASSES), int(config.POOL_SIZE), int(config.MASK_POOL_SIZE)
    width, fc = int(config.TOP_DOWN_PYRAMID_SIZE), int(config.FPN_CLASSIF_FC_LAYERS_SIZE)
    rois = int(config.TRAIN_ROIS_PER_IMAGE if is_training else config.POST_NMS_ROIS_INFERENCE)
    detections = rois if is_training else int(config.DETECTION_MAX_INSTANCES)
    proposals = int(config.POST_NMS_ROIS_TRAINING if is_training else config.POST_NMS_ROIS_INFERENCE)
    mini = config.MINI_MASK_SHAPE if config.USE_MINI_MASK else config.IMAGE_SHAPE
    shapes: dict[str, Any] = {
        "input_image": (None, None, None, int(config.IMAGE_CHANNEL_COUNT)),
        "input_image_meta": (None, int(config.IMAGE_META_SIZE)),
        "input_rpn_match": (None, None, 1),
        "input_gt_class_ids": (None, None),
        "input_gt_masks": (None, int(mini[0]), int(mini[1]), None),
        **dict.fromkeys(("input_anchors", "input_rpn_bbox", "input_gt_boxes", "anchors", "rpn_bbox"), (None, None, 4)),
        **dict.fromkeys(("rpn_class_logits", "rpn_class"), (None, None, 2)),
        "rpn_model": [(None, None, 2), (None, None, 2), (None, None, 4)],
        "ROI": (None, proposals, 4),
        "proposal_targets": [(None, rois, 4), (None, rois), (None, rois, 4), (None, rois, *config.MASK_SHAPE)],
        "output_rois": (None, rois, 4),
        "roi_align_classifier": (None, rois, pool, pool, width),
        "pool_squeeze": (None, rois, fc),
        "mrcnn_class": (None, rois, classes),
        "mrcnn_bbox": (None, rois, classes, 4),
        "mrcnn_detection": (None, detections, 6),
        "roi_align_mask": (None, detections, side, side, width),
        "fpn_p6": (None, None, None, width),
        **{name: (None, None, None, width) for names in _AFTER.values() for name in names if name.startswith("fpn_")},
        **dict.fromkeys(_LOSSES, ()),
    }
    for name, weights in layers.items():
        channels = next((weight.shape[-1] for weight in weights if weight.leaf in ("bias", "beta")), None)
        shapes[name] = (None, None, None, channels)
        if name.startswith("mrcnn_mask"):
            edge = 2 * side if name in ("mrcnn_mask_deconv", "mrcnn_mask") else side
            shapes[name] = (None, detections, edge, edge, channels)
        elif name.startswith("mrcnn_"):
            shapes[name] = (None, rois, *(() if name in ("mrcnn_class_logits", "mrcnn_bbox_fc") else (1, 1)), channels)
        if name.startswith("bn") and name.endswith("_branch2c"):
            shapes[f"res{name[2:4]}_out"] = (None, None, None, channels)
    return shapes


def _text(shape: Any) -> str:
    """As wide as its column, as Keras cuts it."""
    return str(shape)[:42]
