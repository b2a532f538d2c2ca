"""The package's own checkpoint: one .safetensors file that holds the weights and all that is needed to rebuild.

The file's metadata has an entry "mrcnn", a JSON object: format ("mrcnn/1"), model (the config of `MaskRCNNConfig`),
class_names, category_ids, and whatever the writer added (recipe, step, scores, ...); and a checksum, see
`safetensors_file`. Checkpoints of a training run (`run_checkpoint`) are read as well.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy
import tensorflow as tf

from mrcnn.files import atomic_write
from mrcnn.migrations import migrate_model
from mrcnn.modeling.initializers import blank_kernels
from mrcnn.modeling.limits import TooManyVariablesError, limited_variables
from mrcnn.modeling.precision import Precision, set_precision
from mrcnn.weights import run_checkpoint
from mrcnn.weights.containers import short
from mrcnn.weights.file_format import EXPECTED
from mrcnn.weights.reading import reading, regular_file
from mrcnn.weights.report import WeightsError, assign, by_stable_names, named_variables
from mrcnn.weights.safetensors_file import checked, header_metadata, open_safetensors
from mrcnn.weights.stored_array import StoredArray

FORMAT = "mrcnn/1"
MODEL_FILE = "model.safetensors"
"""The file in a run's folder that holds the model."""
_SPARE_VALUES = 1 << 22  # that a model may have beyond those of its file
_log = logging.getLogger(__name__)


def save_checkpoint(
    model: Any,
    path: str | os.PathLike[str],
    dtype: Literal["float32", "float16"] = "float32",
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write weights, config and class names to one file; the file appears whole or not at all.

    Args:
        model: a MaskRCNN: anything with `config`, `class_names` and, if it has them, `category_ids`.
        path: the file to write; its folder is created.
        dtype: of kernels in the file. Vectors (biases, norms) always stay float32: they weigh nothing, and a small
            variance would not survive float16.
        extra: plain data stored beside, e.g. {"recipe": {...}}.

    Returns:
        The path.

    Raises:
        WeightsError: a weight is NaN or infinite, or would be in float16; or `extra` is not plain data.
    """
    path = Path(path)
    if dtype not in ("float32", "float16"):
        raise WeightsError(f"dtype: expected float32 or float16, got {dtype!r}")
    arrays = {}
    for name, variable in named_variables(model).items():
        value = np.asarray(variable, np.float32)
        if dtype == "float16" and value.ndim > 1:
            with np.errstate(over="ignore"):
                value = value.astype(np.float16)
        if not np.isfinite(value).all():
            raise WeightsError(f"{path}: not written, {name} holds NaN or infinity in {value.dtype}")
        arrays[name] = np.ascontiguousarray(value)
    category_ids = getattr(model, "category_ids", None)
    metadata = {
        **(extra or {}),
        "format": FORMAT,
        "model": model.config.to_dict(),
        "class_names": list(model.class_names),
        "category_ids": None if category_ids is None else [int(i) for i in category_ids],
    }
    try:
        header = header_metadata(metadata, arrays)
    except (TypeError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: not written, extra is not plain data ({error})") from error
    with atomic_write(path) as temporary:
        safetensors.numpy.save_file(arrays, temporary, metadata=header)
    return path


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, StoredArray]]:
    """Metadata and lazily read arrays of a checkpoint.

    Args:
        path: a file of `save_checkpoint` or of a training run (then the model's arrays alone are given), or a run's
            folder (then its model.safetensors, or its latest checkpoint while it has none).

    Returns:
        (metadata, arrays by name). Metadata is empty for a safetensors file of another writer.

    Raises:
        WeightsError: no such file, not a safetensors file, damaged, or of a later format.
    """
    path = checkpoint_path(path)
    metadata, tensors = open_safetensors(path)
    if metadata.get("format") == run_checkpoint.FORMAT:
        return run_checkpoint.weights_of_run(metadata, tensors, path)
    if metadata and metadata.get("format") != FORMAT:
        raise WeightsError(
            f"{path}: format {short(metadata.get('format'))}, this version reads {FORMAT!r} and "
            f"{run_checkpoint.FORMAT!r}"
        )
    sums = metadata.pop("crc32", None)
    if isinstance(sums, dict):
        tensors = {name: checked(tensor, sums.get(name), name, path) for name, tensor in tensors.items()}
    return metadata, tensors


def checkpoint_path(path: str | os.PathLike[str]) -> Path:
    """The checkpoint file a user means by a file or a run's folder.

    Raises:
        WeightsError: there is none.
    """
    path = Path(path)
    if not path.is_dir():
        return regular_file(path)
    if (path / MODEL_FILE).exists():
        return regular_file(path / MODEL_FILE)
    newest = run_checkpoint.newest_checkpoint(path)
    if newest is None:
        raise WeightsError(f"{path}: a folder without {MODEL_FILE}, expected {EXPECTED}, or the folder of a run")
    _log.info("%s has no %s yet, %s is taken", path, MODEL_FILE, newest)
    return newest


class StoredModel(NamedTuple):
    """What a checkpoint's metadata say of its model: a MaskRCNNConfig, C class names, C category ids."""

    config: Any
    class_names: list[str]
    category_ids: list[int] | None


def stored_model(metadata: Mapping[str, Any], source: str) -> StoredModel:
    """What a checkpoint's metadata say of its model.

    Raises:
        WeightsError: they say nothing of a model, or what cannot be; names the file `source`.
    """
    from mrcnn.modeling.mask_rcnn import MaskRCNNConfig

    for key in ("model", "class_names"):
        if key not in metadata:
            raise WeightsError(f"{source}: no checkpoint of mrcnn, its metadata has no {key!r}")
    if not isinstance(metadata["model"], dict):
        raise WeightsError(f"{source}: its model is {short(metadata['model'])}, expected a mapping of fields")
    with reading(Path(source)):
        config = MaskRCNNConfig.from_dict(migrate_model(metadata["model"]))
    lists: dict[str, tuple[Any, type]] = {
        "class_names": (metadata["class_names"], str),
        "category_ids": (metadata.get("category_ids"), int),
    }
    number = getattr(config, "num_classes", None)
    for key, (values, kind) in lists.items():
        if values is None and key == "category_ids":
            continue
        if not isinstance(values, list) or not all(isinstance(value, kind) for value in values):
            raise WeightsError(f"{source}: its {key} are {short(values)}, expected a list of {kind.__name__}")
        if number not in (None, len(values)):
            raise WeightsError(f"{source}: {len(values)} {key} for {number} classes")
    return StoredModel(config, metadata["class_names"], metadata.get("category_ids"))


def build_model(
    config: Any,
    class_names: Sequence[str] | None,
    category_ids: Sequence[int] | None,
    arrays: Mapping[str, Any],
    source: str,
    *,
    num_values: int | None = None,
    is_blank: bool = True,
    is_changed: bool = False,
) -> Any:
    """The MaskRCNN of a config that came with arrays; never much larger than the arrays allow.

    Args:
        config: a MaskRCNNConfig.
        class_names, category_ids: as for MaskRCNN.
        arrays: of the file, anything with `shape`.
        source: the file, for messages.
        num_values: that the model may have; None: as many as the arrays.
        is_blank: kernels are zero, as they are all read from the file.
        is_changed: the caller has changed the config, whose errors then stay what they are.

    Raises:
        WeightsError: a model of this config has many more variables than the file has arrays, or more values in them,
            which are not allocated; or no model can be built of it.
    """
    from mrcnn.modeling.mask_rcnn import MaskRCNN

    limit = num_values or sum(math.prod(array.shape) for array in arrays.values())
    # Somewhat more is let through, for a comparison of names and shapes says best what does not fit.
    number, limit = 2 * len(arrays) + 1000, limit + _SPARE_VALUES
    try:
        with blank_kernels() if is_blank else contextlib.nullcontext(), limited_variables(number, limit):
            return MaskRCNN(config, class_names, category_ids)
    except TooManyVariablesError as error:
        raise WeightsError(f"{source}: does not fit its own config, which has {error}") from error
    except (ValueError, TypeError, ArithmeticError, LookupError, MemoryError, RuntimeError, tf.errors.OpError) as error:
        if is_changed:
            raise
        raise WeightsError(f"{source}: no model can be built of its config ({str(error)[:500]})") from error


def load_model(path: str | os.PathLike[str], *, precision: Precision = "float32") -> Any:
    """The MaskRCNN of a checkpoint: built from its config, with its weights and class names.

    What became of every array is in the model's `load_report`.

    Args:
        path: a file of `save_checkpoint`, a checkpoint of a training run, or a run's folder (its model.safetensors, or
            its latest checkpoint while it has none).
        precision: what it computes in, see `mrcnn.set_precision`.

    Raises:
        WeightsError: the file is no checkpoint, or its weights do not all fit its own config.
        InputError: another `precision`.

    Example:
        >>> model = load_model("runs/nuclei")  # doctest: +SKIP
        >>> model.load_report.is_complete  # doctest: +SKIP
        True
    """
    source = checkpoint_path(path)
    metadata, tensors = read_checkpoint(source)
    model = build_model(*stored_model(metadata, str(source)), tensors, str(source))
    report = assign(named_variables(model), by_stable_names(tensors, model), str(source), strict=True)
    model.load_report = report
    if precision != "float32":
        set_precision(model, precision)
    return model
