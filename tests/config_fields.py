"""Other values for the fields of configs, found from their types: a field that is added is tested as it is."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from mrcnn.base_config import BaseConfig

NAMES = ("p2", "p5", "c4", "other")


def others(value: Any, hint: Any) -> Iterator[Any]:
    """Values of the type `hint` that are not `value`; some may be refused for what they mean."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        for option in args:
            yield from [None] if option is type(None) and value is not None else others(value, option)
    elif origin is Literal:
        yield from (choice for choice in args if choice != value)
    elif origin is tuple:
        yield from _other_tuples(value or (), args)
    elif isinstance(hint, type) and issubclass(hint, BaseConfig):
        if value is not None:
            yield from (changed for changes in changed_fields(value).values() for changed in changes)
    elif hint is bool:
        yield not value
    elif hint is int:
        yield from ((value or 0) + 1, 2 * (value or 1), (value or 2) - 1)
    elif hint is float:
        yield from (0.75 * value if value else 0.25, 0.5 if value != 0.5 else 0.25)
    elif hint is str:
        yield from (name for name in NAMES if name != value)


def _other_tuples(value: tuple[Any, ...], args: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    is_open = len(args) == 2 and args[1] is Ellipsis
    hints = [args[0]] * len(value) if is_open else list(args)
    for i, hint in enumerate(hints):
        for item in others(value[i] if value else None, hint):
            yield (*value[:i], item, *value[i + 1 :])
    if is_open:
        yield from ((*value, item) for item in others(None, args[0]))
        if value:
            yield value[:-1]


def changed_fields(config: BaseConfig) -> dict[str, Iterator[BaseConfig]]:
    """For every field, configs that differ from `config` in it alone."""
    hints = get_type_hints(type(config))

    def of_field(name: str) -> Iterator[BaseConfig]:
        for value in others(getattr(config, name), hints[name]):
            try:
                changed = dataclasses.replace(config, **{name: value})
            except (ValueError, TypeError):
                continue  # it contradicts another field
            if changed != config:
                yield changed

    return {field.name: of_field(field.name) for field in dataclasses.fields(config) if field.init}
