"""Base of every config dataclass: strict construction from plain data, and typed overrides.

A component (backbone, RPN, mask head, ...) keeps its config in a frozen dataclass beside its
layer. Subclassing `BaseConfig` gives that dataclass `to_dict`, `from_dict` and `override`, so recipes,
checkpoints and the command line share one representation.

Nested config whose declared type has several subclasses (a backbone, a list of RoI heads) carry the
class name under the key "kind"; `mrcnn.components` says how it is found.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable
from typing import Any, ClassVar, TypeVar, Union, get_args, get_origin, get_type_hints

from mrcnn import components
from mrcnn.errors import MrcnnError

KIND = "kind"
T = TypeVar("T", bound="BaseConfig")


class ConfigError(MrcnnError, ValueError):
    """A config field is unknown or its value has the wrong type; the message names the field's path."""


def _plain(value: Any) -> Any:
    if isinstance(value, BaseConfig):
        return value.to_dict()
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value


def _convert(value: Any, hint: Any, path: str) -> Any:
    """`value` (plain data) as the declared type `hint`; raises ConfigError naming `path`."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_to_any_of(value, args, path)
    if origin is typing.Literal:
        if value not in args:
            raise ConfigError(f"{path}: expected one of {', '.join(map(repr, args))}, got {value!r}")
        return value
    if origin is tuple:
        return _convert_to_tuple(value, args, path)
    if origin is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{path}: expected a mapping, got {value!r}")
        return {_convert(k, args[0], path): _convert(v, args[1], f"{path}.{k}") for k, v in value.items()}
    if isinstance(hint, type) and issubclass(hint, BaseConfig):
        if isinstance(value, hint):
            return value
        if isinstance(value, str):
            return hint.from_short_name(value, path)
        if not isinstance(value, dict):
            raise ConfigError(f"{path}: expected a mapping of {hint.__name__} fields, got {value!r}")
        return _from_dict(hint, value, path)
    return _convert_to_plain(value, hint, path)


def _convert_to_any_of(value: Any, options: tuple[Any, ...], path: str) -> Any:
    """As the first of several types that it fits."""
    if value is None and type(None) in options:
        return None
    errors = []
    for option in (a for a in options if a is not type(None)):
        try:
            return _convert(value, option, path)
        except ConfigError as error:
            errors.append(str(error))
    raise ConfigError(errors[0] if len(errors) == 1 else f"{path}: none of {options} fits {value!r}")


def _convert_to_tuple(value: Any, args: tuple[Any, ...], path: str) -> tuple[Any, ...]:
    """As tuple[X, ...], or as a tuple of as many values as it has types."""
    if isinstance(value, str) or not isinstance(value, (list, tuple)):
        raise ConfigError(f"{path}: expected a list, got {value!r}")
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_convert(v, args[0], f"{path}[{i}]") for i, v in enumerate(value))
    if len(args) != len(value):
        raise ConfigError(f"{path}: expected {len(args)} values, got {len(value)}")
    return tuple(_convert(v, a, f"{path}[{i}]") for i, (v, a) in enumerate(zip(value, args, strict=True)))


def _convert_to_plain(value: Any, hint: Any, path: str) -> bool | int | float | str:
    """As bool, int, float or str; no number is taken for a flag, no flag for a number."""
    if hint is bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
    elif hint is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, float) and value.is_integer():
            return int(value)
    elif hint is float:
        number = None
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            number = float(value)
        elif isinstance(value, str):  # YAML 1.1 reads "1e-4" as a string
            with contextlib.suppress(ValueError):
                number = float(value)
        if number is not None:
            if math.isnan(number):  # every later comparison with it would be silently false
                raise ConfigError(f"{path}: expected a number, got {value!r}")
            return number
    elif hint is str and isinstance(value, str):
        return value
    raise ConfigError(f"{path}: expected {getattr(hint, '__name__', hint)}, got {value!r}")


def _from_dict(cls: type[T], data: dict[str, Any], path: str) -> T:
    data = dict(data)
    kind = data.pop(KIND, components.name_of(cls))
    inside = f"{path}." if path else ""
    target: type[T] = cls
    if kind != components.name_of(cls):
        if not isinstance(kind, str):
            raise ConfigError(f"{inside}{KIND}: expected the name of a class, got {kind!r}")
        try:
            target = components.find_class(kind, cls, cls.components or cls.__module__, KIND)
        except components.ComponentError as error:
            raise ConfigError(f"{inside}{KIND}: {error}") from error
    at = f"{path}: " if path else ""
    hints = get_type_hints(target)
    fields = {f.name: f for f in dataclasses.fields(target) if f.init}
    for name in data:
        if name not in fields:
            known = ", ".join(sorted(fields))
            raise ConfigError(f"{at}{target.__name__} has no field {name!r}; it has {known}{_hint(name, '', fields)}")
    values = {n: _convert(v, hints[n], f"{inside}{n}") for n, v in data.items()}
    missing = [
        n
        for n, f in fields.items()
        if n not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"{at}{target.__name__} needs {', '.join(missing)}")
    try:
        return target(**values)
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{at}{error}") from error


@dataclasses.dataclass(frozen=True)
class BaseConfig:
    """Base class of the frozen config dataclasses.

    Class attributes:
        components: the package in whose modules the built-in subclasses lie, for a class that a field may hold any
            subclass of, such as "mrcnn.modeling.backbones"; None: the module of the class.
        short_name: a word that stands for the class with its defaults where a field may hold one of several classes:
            "dice" for {"kind": "MaskDice"}; "": none.
    """

    components: ClassVar[str | None] = None
    short_name: ClassVar[str] = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data (dict, list, str, int, float, bool, None), ready for JSON or YAML."""
        fields = {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self) if f.init}
        return {KIND: components.name_of(type(self)), **fields}

    @classmethod
    def from_dict(cls: type[T], data: dict[str, Any]) -> T:
        """A config from plain data.

        Raises:
            ConfigError: an unknown field, a missing one, or a value of the wrong type; names the path.
        """
        if not isinstance(data, dict):
            raise ConfigError(f"{cls.__name__}: expected a mapping, got {type(data).__name__}")
        return _from_dict(cls, data, "")

    @classmethod
    def from_short_name(cls: type[T], name: str, path: str) -> T:
        """The component of this kind with its defaults that a word stands for.

        Args:
            name: a `short_name` of `cls` or one of its subclasses.
            path: of the field it is for, for messages.

        Raises:
            ConfigError: none has this short name; lists those there are.
        """
        known = components.subclasses_of(cls, cls.components or cls.__module__).values()
        short = {each.short_name: each for each in known if "short_name" in vars(each)}
        if name in short:
            return short[name]()
        words = f" or one of {', '.join(map(repr, sorted(short)))}" if short else ""
        raise ConfigError(f"{path}: expected a mapping of {cls.__name__} fields{words}, got {name!r}")

    def override(self: T, changes: dict[str, Any]) -> T:
        """A copy with dotted fields replaced, e.g. {"train.learning_rate": 0.01, "model.rpn.nms_iou": 0.6}.

        Values are checked against the declared types; items of a tuple are reached by index ("heads.1.pool_size").

        Raises:
            ConfigError: a path that leads nowhere or a value of the wrong type.
        """
        data = self.to_dict()
        for path, value in changes.items():
            node: Any = data
            *parents, last = path.split(".")
            for step in parents:
                node = _step(node, step, path, data)
            if isinstance(node, list):
                _step(node, last, path, data)
                node[int(last)] = _plain(value)
            elif isinstance(node, dict) and last in node and last != KIND:
                node[last] = _plain(value)
            else:
                raise ConfigError(_no_such_field(path, last, node, data))
        return type(self).from_dict(data)


def _no_such_field(path: str, step: str, node: Any, root: Any) -> str:
    if isinstance(node, dict):
        names = ", ".join(k for k in node if k != KIND)
        hint = _hint(path, path.rpartition(".")[0], _dotted_keys(root))
        return f"{path}: no field {step!r} in {node.get(KIND, 'it')}; there are {names}{hint}"
    if isinstance(node, list):
        indices = f" (0 to {len(node) - 1})" if node else ""
        return f"{path}: no item {step!r}, there are {len(node)}{indices}"
    return f"{path}: {step!r} leads below a plain value ({node!r})"


def _step(node: Any, step: str, path: str, root: Any) -> Any:
    if isinstance(node, list) and step.isdigit() and int(step) < len(node):
        return node[int(step)]
    if isinstance(node, dict) and step in node and step != KIND:
        return node[step]
    raise ConfigError(_no_such_field(path, step, node, root))


_SYNONYMS = {  # names that other programs have -> ours
    **dict.fromkeys(("lr", "lr0", "base_lr", "rate"), "learning_rate"),
    **dict.fromkeys(("batch", "bs", "ims_per_batch", "images_per_gpu", "samples_per_gpu"), "batch_size"),
    **dict.fromkeys(("epochs", "num_epochs", "max_epochs", "steps", "max_iter", "iterations"), "images"),
    **dict.fromkeys(("wd", "decay", "l2"), "weight_decay"),
    **dict.fromkeys(("imgsz", "img_size", "image_size", "min_size"), "short_side"),
    **dict.fromkeys(("amp", "fp16", "mixed_precision"), "precision"),
    **dict.fromkeys(("warmup", "warmup_steps", "warmup_iters"), "warmup_images"),
    **dict.fromkeys(("grad_clip", "clip_gradients", "clipnorm", "max_norm"), "clip_norm"),
    "ema": "weight_average",
    "patience": "stop_after",
    "max_size": "long_side",
}
_EXPLAINED = {"images": " (images seen in all: epochs x images of the training set)"}


def _dotted_keys(node: Any, path: str = "") -> list[str]:
    """Dotted path of every field in plain data, those that hold further fields too."""
    if isinstance(node, list):
        items: list[tuple[Any, Any]] = list(enumerate(node))
    elif isinstance(node, dict):
        items = [(key, value) for key, value in node.items() if key != KIND]
    else:
        return []
    return [key for name, value in items for key in (f"{path}{name}", *_dotted_keys(value, f"{path}{name}."))]


def _hint(path: str, parent: str, keys: Iterable[str]) -> str:
    """ "; did you mean learning_rate?" for the dotted path "train.lr" of a field that does not exist, or nothing.

    Args:
        path: as the user has it.
        parent: what comes before its last part; a field of the same parent is named without it.
        keys: dotted paths of the fields there are.
    """
    keys, last = list(keys), path.rpartition(".")[2]
    names = [key.rpartition(".")[2] for key in keys]
    wanted = _SYNONYMS.get(last.lower(), last)
    matches = [key for key, name in zip(keys, names, strict=True) if name == wanted]
    if not matches:
        near = [key for key in keys if key.rpartition(".")[0] == parent]
        close = difflib.get_close_matches(last, [key.rpartition(".")[2] for key in near], 1)
        matches = [f"{parent}.{name}".strip(".") for name in close] or difflib.get_close_matches(path, keys, 1, 0.7)
    if not matches:
        return ""
    siblings = [key for key in matches if key.rpartition(".")[0] == parent]
    suggested = (
        siblings[0].rpartition(".")[2]
        if siblings
        else max(matches, key=lambda key: difflib.SequenceMatcher(None, path, key).ratio())
    )
    return f"; did you mean {suggested}?{_EXPLAINED.get(wanted, '') if wanted != last else ''}"
