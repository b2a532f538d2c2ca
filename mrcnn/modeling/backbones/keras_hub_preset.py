"""Presets of KerasHub: which network one is of, and the pixels it was trained on. KerasHub is imported here only."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mrcnn.base_config import ConfigError
from mrcnn.modeling.normalize import PixelNorm

_NOT_STORED = ("name", "trainable", "dtype", "data_format", "image_shape", "input_shape")


def library() -> Any:
    """The module keras_hub.

    Raises:
        ConfigError: it is not installed, or cannot be imported.
    """
    try:
        import keras_hub
    except ImportError as error:
        raise ConfigError(
            f'backbones of KerasHub need keras-hub: pip install "mrcnn-keras[keras-hub]" ({error})'
        ) from error
    return keras_hub


def network_class(name: str, where: str) -> Any:
    """A class of `keras_hub.models` by its name.

    Raises:
        ConfigError: there is none, or it has no feature pyramid; begins with `where`.
    """
    models = library().models
    base = models.FeaturePyramidBackbone
    chosen = getattr(models, name, None)
    if not isinstance(chosen, type) or not issubclass(chosen, base) or chosen is base:
        known = [n for n, value in vars(models).items() if isinstance(value, type) and issubclass(value, base)]
        known = sorted(set(known) - {base.__name__})
        raise ConfigError(f"{where}: expected a network with a feature pyramid ({', '.join(known)}), got {name}")
    return chosen


def read_preset(preset: str) -> tuple[str, PixelNorm | None]:
    """The network of a preset as JSON, and the pixels it was trained on if it states them.

    Args:
        preset: a name of KerasHub's, or a folder that `save_to_preset` wrote.

    Raises:
        ConfigError: no such preset, of another kind of network, or it cannot be read.
    """
    folder = Path(preset)
    if preset and folder.is_dir():
        described = _json_of(folder / "config.json")
        name, arguments = described.get("class_name"), described.get("config")
        if not isinstance(name, str) or not isinstance(arguments, dict):
            raise ConfigError(f"{folder / 'config.json'}: expected class_name and config of a KerasHub network")
        network_class(name, f"preset {preset}")
        return as_json(name, arguments), _pixels_of_folder(folder)
    models = library().models
    presets = models.FeaturePyramidBackbone.presets
    if preset not in presets:
        other = preset in models.Backbone.presets
        what = "is of a network without a feature pyramid" if other else "is neither a preset of KerasHub nor a folder"
        raise ConfigError(f"preset: {preset!r} {what}; nearest of {len(presets)}: {_nearest(preset, presets)}")
    try:
        network = models.FeaturePyramidBackbone.from_preset(preset, load_weights=False)
        converter = library().layers.ImageConverter.from_preset(preset)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(f"preset {preset}: cannot be read: {type(error).__name__}: {reason}") from error
    return as_json(type(network).__name__, network.get_config()), _pixels(converter.scale, converter.offset)


def _nearest(name: str, known: Iterable[str]) -> str:
    return ", ".join(difflib.get_close_matches(name, list(known), n=3, cutoff=0.0))


def _json_of(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected an object, got {type(value).__name__}")
    return value


def as_json(name: str, arguments: dict[str, Any]) -> str:
    """The class of a network and its arguments, for `KerasHubConfig.network`.

    Raises:
        ConfigError: it is made of other networks.
    """
    kept = {key: value for key, value in arguments.items() if key not in _NOT_STORED}
    if has_objects(kept):
        raise ConfigError(f"KerasHub's {name} is made of other networks, which a backbone cannot be")
    return json.dumps({"class": name, "config": kept}, sort_keys=True)


def has_objects(value: Any) -> bool:
    """Whether arguments hold descriptions of Python objects, which Keras would make."""
    if isinstance(value, dict):
        return "class_name" in value or any(map(has_objects, value.values()))
    return isinstance(value, list | tuple) and any(map(has_objects, value))


def _pixels_of_folder(folder: Path) -> PixelNorm | None:
    for name, inner in (("image_converter.json", ()), ("preprocessor.json", ("config", "image_converter"))):
        if (folder / name).is_file():
            described: Any = _json_of(folder / name)
            for key in (*inner, "config"):
                described = described.get(key) if isinstance(described, dict) else None
            if isinstance(described, dict):
                return _pixels(described.get("scale"), described.get("offset"))
    return None


def _pixels(scale: Any, offset: Any) -> PixelNorm | None:
    """pixel * scale + offset as (pixel - mean) / std; None where nothing is stated."""
    if scale is None and offset is None:
        return None
    scales, offsets = (
        [float(default)] * 3
        if value is None
        else [float(v) for v in (value if isinstance(value, list | tuple) else [value] * 3)]
        for value, default in ((scale, 1.0), (offset, 0.0))
    )
    mean = tuple(-o / s for s, o in zip(scales, offsets, strict=True))
    return PixelNorm(mean=mean, std=tuple(1.0 / s for s in scales))
