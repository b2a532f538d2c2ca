"""Putting named arrays into a model's variables, and saying what came of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

from mrcnn.errors import MrcnnError
from mrcnn.modeling.variables import generated_names, stable_names
from mrcnn.modeling.variables import named_variables as named_variables

T = TypeVar("T")


class WeightsError(MrcnnError, ValueError):
    """A weights file cannot be read or does not fit; the message names the file and what was expected."""


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What became of every name when weights were loaded.

    loaded: variables that were set. shape_skipped: (variable, shape in the file, shape in the model), left as they
    were. missing: variables the file does not have, left as they were. unused: names in the file that no variable
    asked for.
    """

    source: str
    loaded: tuple[str, ...] = ()
    shape_skipped: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = ()
    missing: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        """True if every variable of the model was set."""
        return not self.shape_skipped and not self.missing

    def __str__(self) -> str:
        lines = [
            f"{self.source}: {len(self.loaded)} loaded, {len(self.shape_skipped)} skipped for their shape, "
            f"{len(self.missing)} missing, {len(self.unused)} unused"
        ]
        for name, in_file, in_model in self.shape_skipped:
            lines.append(f"  skipped  {name}: {list(in_file)} in the file, {list(in_model)} in the model")
        for title, names in (("missing", self.missing), ("unused", self.unused)):
            for group, count in _grouped(names):
                lines.append(f"  {title:<8} {group}" + (f" ({count} arrays)" if count > 1 else ""))
        return "\n".join(lines)


def _grouped(names: Iterable[str]) -> list[tuple[str, int]]:
    """Names counted by layer, in order: a norm's four vectors make one line."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.rsplit("/" if "/" in name else ".", 1)[0], []).append(name)
    return [(layer if len(members) > 1 else members[0], len(members)) for layer, members in groups.items()]


def assign(
    variables: Mapping[str, Any],
    arrays: Mapping[str, Any],
    source: str,
    *,
    strict: bool = False,
) -> LoadReport:
    """Set every variable that has an array of its name and shape.

    Args:
        variables: Keras variables by name.
        arrays: array-likes with `shape`, by name; taken one at a time, so a lazy mapping stays lazy.
        source: where the arrays come from, for messages.
        strict: refuse anything but a complete fit (unused names are no fault), before any variable is touched.

    Returns:
        The report.

    Raises:
        WeightsError: nothing fits, an array holds NaN or infinity, or `strict` and not everything fits.
    """
    fitting, skipped = [], []
    for name, variable in variables.items():
        if name in arrays:
            in_file, in_model = tuple(arrays[name].shape), tuple(variable.shape)
            if in_file == in_model:
                fitting.append(name)
            else:
                skipped.append((name, in_file, in_model))
    report = LoadReport(
        source,
        tuple(fitting),
        tuple(skipped),
        tuple(name for name in variables if name not in arrays),
        tuple(name for name in arrays if name not in variables),
    )
    if not fitting:
        raise WeightsError(
            f"{source}: nothing in it fits the model: it has {_few(arrays)}; the model has {_few(variables)}"
        )
    if strict and not report.is_complete:
        raise WeightsError(f"{source}: does not fit the model\n{report}")
    for name in fitting:  # all are looked at before the first is set; read twice rather than held twice
        if not np.isfinite(np.asarray(arrays[name]).astype(np.float32, copy=False)).all():
            raise WeightsError(f"{source}: {name} holds NaN or infinity")
    for name in fitting:
        variables[name].assign(np.asarray(arrays[name]).astype(np.float32, copy=False))
    return report


def by_stable_names(arrays: Mapping[str, T], model: Any) -> dict[str, T]:
    """The arrays of a checkpoint under the names that `named_variables(model)` gives.

    Checkpoints written before names were stable have those of the process that wrote them.

    Args:
        arrays: of this package's checkpoint, by name.
        model: the one they are to be loaded into.
    """
    names = stable_names(arrays, generated_names(model))
    return {names[name]: array for name, array in arrays.items()}


def _few(names: Iterable[str], limit: int = 3) -> str:
    names = list(names)
    return ", ".join(names[:limit]) + (f", … ({len(names)} in all)" if len(names) > limit else "") or "nothing"
