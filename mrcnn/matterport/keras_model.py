"""The Keras model that scripts reach as `model.keras_model`."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from mrcnn.export.saved_model import export_saved_model
from mrcnn.matterport import utils, weights_file
from mrcnn.matterport.view import GraphView
from mrcnn.modeling import mask_rcnn
from mrcnn.weights.report import named_variables

LOSSES = {
    "rpn_objectness": "rpn_class_loss",
    "rpn_box": "rpn_bbox_loss",
    "roi_class": "mrcnn_class_loss",
    "roi_box": "mrcnn_bbox_loss",
    "roi_mask": "mrcnn_mask_loss",
}
"""Our name of a loss -> the one that scripts read from logs and histories."""


class LayerView:
    """A layer of matterport's: its weights, as this package's model has them, and its output as a Keras tensor.

    Attributes:
        name: matterport's.
        weights: variables; empty for a layer that only computes.
    """

    def __init__(self, model: KerasModel, name: str, weights: Iterable[Any]) -> None:
        self._model, self.name, self.weights = model, name, list(weights)

    @property
    def output(self) -> Any:
        """See `GraphView.tensor`."""
        return self._model.view.tensor(self.name)

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """Of `output`."""
        return tuple(self.output.shape)

    @property
    def trainable(self) -> bool:
        """Whether any weight trains; may be set, before training is compiled."""
        return any(weight.trainable for weight in self.weights)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        frozen = ("moving_mean", "moving_variance")
        if self._model.source.TRAIN_BN is False:
            frozen += ("gamma", "beta")
        for weight in self.weights:
            if weight.path.rpartition("/")[2] not in frozen:
                weight.trainable = bool(value)

    @property
    def trainable_weights(self) -> list[Any]:
        """The weights that train."""
        return [weight for weight in self.weights if weight.trainable]

    def get_weights(self) -> list[np.ndarray]:
        """The values of the weights."""
        return [np.asarray(weight) for weight in self.weights]

    def set_weights(self, values: Iterable[np.ndarray]) -> None:
        """Set the weights, in the order of `get_weights`."""
        for weight, value in zip(self.weights, values, strict=True):
            weight.assign(value)

    def __repr__(self) -> str:
        return f"<layer {self.name}, weights {[tuple(weight.shape) for weight in self.weights]}>"


class KerasModel(mask_rcnn.MaskRCNN):
    """The model of this package with matterport's names of losses and layers and its layout of weights files.

    Attributes:
        source: the `Config` it was made of; set once it exists.
        history: Keras' History of the last training.
    """

    source: Any = None
    history: Any = None

    def get_metrics_result(self) -> dict[str, Any]:
        """As in Keras, by matterport's names."""
        logs = {LOSSES.get(name, name): value for name, value in super().get_metrics_result().items()}
        return {"loss": logs.pop("loss"), **logs} if "loss" in logs else logs

    # Layers by matterport's names

    @functools.cached_property
    def view(self) -> GraphView:
        """The model as matterport's graph."""
        inner = "backbone/"
        theirs = {
            layer: path.removeprefix(inner).partition("/")[0]
            for path, layer in weights_file.layer_names(self, self.source).items()
            if path.startswith(inner)
        }
        return GraphView(self, self.source, theirs)

    def weighted_layers(self) -> list[LayerView]:
        """The layers of matterport's that have weights."""
        layers: dict[str, list[Any]] = {}
        names = weights_file.layer_names(self, self.source)
        for path, variable in named_variables(self).items():
            layers.setdefault(names[path], []).append(variable)
        return [LayerView(self, name, weights) for name, weights in layers.items()]

    def get_layer(self, name: str | None = None, index: int | None = None) -> Any:
        """A layer by matterport's name: its `output`, `weights`, `get_weights()`; by this package's, as in Keras.

        Raises:
            ValueError: there is no layer of that name; says which have outputs.
        """
        if name is None or any(layer.name == name for layer in self.layers):
            return super().get_layer(name, index)
        weighted = {layer.name: layer for layer in self.weighted_layers()}
        if name in weighted:
            return weighted[name]
        self.view.tensor(name)
        return LayerView(self, name, ())

    @property
    def inputs(self) -> list[Any]:
        """Keras tensors: molded images, image_metas, anchors."""
        return self.view.inputs

    @property
    def outputs(self) -> list[Any]:
        """Keras tensors: detections, mrcnn_class, mrcnn_bbox, mrcnn_mask, rpn_rois, rpn_class, rpn_bbox."""
        return self.view.model.outputs

    @property
    def input(self) -> list[Any]:
        """`inputs`."""
        return self.inputs

    @property
    def output(self) -> list[Any]:
        """`outputs`."""
        return self.outputs

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """For [molded images, image_metas, anchors] what `outputs` names; for a batch of this package as in Keras."""
        if isinstance(x, (list, tuple)) and len(x) == len(self.inputs):
            return [np.asarray(value) for value in self.view.run(self.outputs, x)]
        return super().predict(x, *args, **kwargs)

    # Training and files

    def fit_generator(self, generator: Iterable[Any], steps_per_epoch: int | None = None, **kwargs: Any) -> Any:
        """`fit` on what `data_generator` yields; for scripts that bring a `train` of their own."""
        for name in ("max_queue_size", "workers", "use_multiprocessing"):
            kwargs.pop(name, None)
        check = kwargs.pop("validation_data", None)
        if check is not None:
            kwargs["validation_data"] = _batches(check, self.source)
        return self.fit(_batches(generator, self.source), steps_per_epoch=steps_per_epoch, **kwargs)

    def save_weights(self, filepath: str | os.PathLike[str], overwrite: bool = True, **kwargs: Any) -> None:
        """Write matterport's layout, whatever the name; Keras' own for a name that ends in .weights.h5."""
        if str(filepath).endswith(".weights.h5"):
            super().save_weights(filepath, overwrite=overwrite, **kwargs)
        elif overwrite or not os.path.exists(filepath):
            weights_file.save(self, self.source, filepath)

    def load_weights(self, filepath: str | os.PathLike[str], by_name: bool = False, **kwargs: Any) -> None:
        """Read what `save_weights` wrote, or any file `mrcnn.matterport.weights_file` can."""
        if str(filepath).endswith(".weights.h5"):
            super().load_weights(filepath, **kwargs)
        else:
            weights_file.load(self, self.source, filepath, by_name, ())

    def save(self, filepath: str | os.PathLike[str], overwrite: bool = True, **kwargs: Any) -> None:
        """A folder gets a SavedModel, see `mrcnn.export_saved_model`; .keras as in Keras; .h5 holds the weights.

        The SavedModel lies in FILEPATH/1, the next in FILEPATH/2; a number at the end of the path is the version.
        """
        ending = os.path.splitext(str(filepath))[1]
        if ending == ".keras":
            super().save(filepath, overwrite=overwrite, **kwargs)
        elif ending in (".h5", ".hdf5"):
            self.save_weights(filepath, overwrite)
        else:
            folder, name = os.path.split(os.path.normpath(filepath))
            if name.isdecimal():
                export_saved_model(self, folder or ".", version=int(name))
            else:
                export_saved_model(self, filepath)

    def _make_predict_function(self) -> None:
        """Nothing to prepare; scripts call it before they start threads."""


def _batches(generator: Iterable[Any], config: Any) -> Iterator[tuple[dict[str, np.ndarray]]]:
    for inputs, _ in generator:
        yield (as_batch(inputs, config),)


def as_batch(inputs: list[np.ndarray], config: Any) -> dict[str, np.ndarray]:
    """Lists of `data_generator` as a batch of this package; see `structures.batch_spec`."""
    images, metas, _, _, class_ids, boxes, masks = inputs[:7]
    count, slots = class_ids.shape
    window = metas[:, 7:11].astype(np.int32)
    valid = np.any(boxes != 0, axis=-1)
    side = int(max(config.MINI_MASK_SHAPE[:2]))
    if not config.USE_MINI_MASK:
        small = np.zeros((count, side, side, slots), bool)
        for i in range(count):
            small[i][..., valid[i]] = utils.minimize_mask(boxes[i][valid[i]], masks[i][..., valid[i]], (side, side))
        masks = small
    return {
        "image": (images + np.asarray(config.MEAN_PIXEL)).astype(np.float32),
        "image_id": metas[:, 0].astype(np.int64),
        "original_shape": metas[:, 1:3].astype(np.int32),
        "content_shape": np.stack([window[:, 2] - window[:, 0], window[:, 3] - window[:, 1]], axis=1),
        "gt_boxes": boxes.astype(np.float32),
        "gt_class_ids": np.abs(class_ids).astype(np.int32),
        "gt_masks": np.ascontiguousarray(np.moveaxis(masks, -1, 1)).astype(np.uint8),
        "gt_crowd": class_ids < 0,
        "gt_valid": valid,
        "seed": np.random.randint(2**31 - 1, size=(count, 2)).astype(np.int32),  # noqa: NPY002 - scripts seed it
    }
