"""The Keras model that scripts reach as `model.keras_model`."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from mrcnn.export.saved_model import export_saved_model
from mrcnn.matterport import weights_file
from mrcnn.matterport.batches import MATCH, ROIS, as_batch, as_batches, given_anchors, given_proposals
from mrcnn.matterport.progress import Progress
from mrcnn.matterport.summary import lines, weights_of
from mrcnn.matterport.view import GraphView
from mrcnn.modeling import mask_rcnn
from mrcnn.modeling.roi_sampler import sample_rois
from mrcnn.modeling.rpn import AnchorSample
from mrcnn.structures.tensors import Batch, RoiSample, RPNOutput
from mrcnn.weights.report import named_variables

LOSSES = {
    "rpn_objectness": "rpn_class_loss",
    "rpn_box": "rpn_bbox_loss",
    "roi_class": "mrcnn_class_loss",
    "roi_box": "mrcnn_bbox_loss",
    "roi_mask": "mrcnn_mask_loss",
}
"""Our name of a loss -> the one that scripts read from logs and histories."""


def _in_order(logs: Mapping[str, Any]) -> dict[str, Any]:
    """The loss, then its terms as matterport prints them, then everything else; those of validation likewise."""
    names = ("loss", *LOSSES.values())
    order = [*names, *(f"val_{name}" for name in names)]
    return {name: logs[name] for name in sorted(logs, key=lambda n: order.index(n) if n in order else len(order))}


def _function_of(step: Callable[[Any], Any], jit_compile: Any) -> Callable[[Iterator[Any]], Any]:
    """The function that Keras calls with an iterator, with a graph of its own for a step on a batch.

    TensorFlow counts the traces of a function by its code object. Those that Keras makes share one, so each stage of a
    training, whose graph is another and must be traced, would be taken for a function that is traced over and over. A
    `partial` has no code object and is counted by itself.
    """
    graph = tf.function(functools.partial(step), reduce_retracing=True, jit_compile=jit_compile, autograph=False)
    return lambda iterator: graph(next(iterator))


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
        frozen: tuple[str, ...] = ("moving_mean", "moving_variance")
        if self._model.config.backbone.norm == "frozen_bn":
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
        mode: "training" or "inference", what `summary` lists; the model is the same.
        history: Keras' History of the last training.
    """

    source: Any = None
    mode: str = "inference"
    history: Any = None
    train_function: Any = None
    test_function: Any = None

    def get_metrics_result(self) -> dict[str, Any]:
        """As in Keras, by matterport's names and in their order."""
        return _in_order({LOSSES.get(name, name): value for name, value in super().get_metrics_result().items()})

    def make_train_function(self, force: bool = False) -> None:
        """As in Keras, with a function for each `compile`."""
        if self._one_step_at_a_time and (force or self.train_function is None):
            self._build_optimizer()
            self.train_function = _function_of(self.train_step, self.jit_compile)
        else:
            super().make_train_function(force)

    def make_test_function(self, force: bool = False) -> None:
        """As in Keras, with a function for each `compile`."""
        if self._one_step_at_a_time and (force or self.test_function is None):
            self.test_function = _function_of(self.test_step, self.jit_compile)
        else:
            super().make_test_function(force)

    @property
    def _one_step_at_a_time(self) -> bool:
        """Whether nothing is asked for that only the functions of Keras can do."""
        several = self.steps_per_execution > 1 or self.distribute_strategy.num_replicas_in_sync > 1
        return not (several or self.run_eagerly)

    def fit(self, *args: Any, verbose: Any = "auto", callbacks: Sequence[Any] | None = None, **kwargs: Any) -> Any:
        """As in Keras; prints `Progress`, and the history has matterport's order too."""
        shown = [] if verbose == 0 else [Progress(_in_order, lines=verbose == 2)]
        history = super().fit(*args, verbose=0, callbacks=[*(callbacks or ()), *shown], **kwargs)
        history.history = _in_order(history.history)
        return history

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

    def summary(self, *args: Any, print_fn: Any = None, **kwargs: Any) -> None:
        """Print matterport's layers: names, types, shapes and numbers of parameters, as its own model has them.

        Layers that Keras numbers (`activation_1`, `lambda_1`) are left out. A model of another network lists the
        weights that it has.

        Args:
            *args, **kwargs: of Keras' `summary`; its widths and details are not known here.
            print_fn: called with each line; None: print.
        """
        del args, kwargs
        variables, theirs = named_variables(self), weights_file.arrays_of(self, self.source)
        if theirs is not None:
            arrays = [(name, array.shape, variables[path].trainable) for name, (array, path) in theirs.items()]
        else:
            layers = weights_file.layer_names(self, self.source)
            arrays = [
                (f"{layers[path]}/{path.rpartition('/')[2]}", tuple(variable.shape), variable.trainable)
                for path, variable in variables.items()
            ]
        for line in lines(self.name, weights_of(arrays), self.source, self.mode):
            (print if print_fn is None else print_fn)(line)

    # Training and files

    def fit_generator(self, generator: Iterable[Any], steps_per_epoch: int | None = None, **kwargs: Any) -> Any:
        """`fit` on what `data_generator` yields; for scripts that bring a `train` of their own."""
        for name in ("max_queue_size", "workers", "use_multiprocessing"):
            kwargs.pop(name, None)
        check = kwargs.pop("validation_data", None)
        if check is not None:
            kwargs["validation_data"] = as_batches(check, self.source)
        return self.fit(as_batches(generator, self.source), steps_per_epoch=steps_per_epoch, **kwargs)

    def train_on_batch(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """As in Keras; lists of `data_generator` too."""
        return super().train_on_batch(self._as_batch(x), *(() if isinstance(x, (list, tuple)) else args), **kwargs)

    def test_on_batch(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """As in Keras; lists of `data_generator` too."""
        return super().test_on_batch(self._as_batch(x), *(() if isinstance(x, (list, tuple)) else args), **kwargs)

    def _as_batch(self, x: Any) -> Any:
        return as_batch([np.asarray(array) for array in x], self.source) if isinstance(x, (list, tuple)) else x

    def anchor_sample(self, output: RPNOutput, batch: Batch) -> AnchorSample:
        """The anchors that a batch of `data_generator` names, else those drawn by `RPN.sample_anchors`."""
        if MATCH in batch:
            return given_anchors(self.rpn, output, batch)
        return super().anchor_sample(output, batch)

    def roi_sample(self, output: RPNOutput, batch: Batch) -> RoiSample:
        """Drawn from the RoIs that come with a batch, with `USE_RPN_ROIS = False`, else from the RPN's proposals."""
        if ROIS in batch:
            proposals = given_proposals(batch, self.config.input.end_offset)
            return sample_rois(proposals, batch, self.config.roi_sampler)
        return super().roi_sample(output, batch)

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
