"""A detector begun with another one whose classes are others in part. Ref: Mask R-CNN, appendix A, on Cityscapes."""

from __future__ import annotations

from typing import Any

import mrcnn


def load_shared_classes(model: mrcnn.MaskRCNN, source: mrcnn.MaskRCNN) -> list[str]:
    """Give a model the weights of another of the same network, class by class where they are of classes.

    A class that `source` does not know keeps what it has, as "rider" does in the paper.

    Returns:
        Names of the classes that both have.
    """
    shared = [name for name in model.class_names if name in source.class_names]
    mine, theirs = _class_weights(model), _class_weights(source)
    of_classes = {id(weight) for weight, _, _ in mine}
    for weight, given in zip(model.weights, source.weights, strict=True):
        if id(weight) not in of_classes:
            weight.assign(given)
    for (weight, groups, background), (given, _, _) in zip(mine, theirs, strict=True):
        old, new = (array.numpy().reshape(*array.shape[:-1], groups, -1) for array in (given, weight))
        new[..., :background] = old[..., :background]
        for name in shared:
            new[..., background + model.class_names.index(name)] = old[..., background + source.class_names.index(name)]
        weight.assign(new.reshape(weight.shape))
    return shared


def _class_weights(model: mrcnn.MaskRCNN) -> list[tuple[Any, int, int]]:
    """(weight, groups, background) of the layers that have a part for each class.

    The last axis of such a weight is `groups` times: `background` entries, then one for each class.
    """
    layers = [(model.box_head.class_logits, 1, 1), (model.box_head.deltas, 4, 0)]
    layers += [(head.mask_logits, 1, 0) for head in model.heads]
    return [(weight, groups, background) for layer, groups, background in layers for weight in layer.weights]
