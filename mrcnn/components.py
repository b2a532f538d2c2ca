"""Finding the parts that can be chosen by name: backbones, heads, losses, formats, metrics, exporters, ...

A built-in component lives in one file of its package (`mrcnn.modeling.backbones`, `mrcnn.data.formats`, ...) and is
found because it is there: nothing lists it, and what is found does not depend on what happens to be imported.

A component of another package is named "module:Name". It is found if its module is imported already, or if its package
declares an entry point in the group `mrcnn.components`, whose module is then imported:

    [project.entry-points."mrcnn.components"]
    mine = "my_package.backbones"

A name read from a checkpoint or a recipe never makes this package import a module of the file's choosing: only modules
that an installed package declares itself are imported, and only subclasses of the right base class, or functions marked
as the right kind of component, are used. The one exception, `find_user_function`, takes a public function that an
imported module of the user's defines, and no other.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.metadata
import pkgutil
import sys
import types
from collections.abc import Callable
from typing import Any, TypeVar

from mrcnn.errors import MrcnnError

GROUP = "mrcnn.components"
_MARK = "_mrcnn_component"
C = TypeVar("C")
F = TypeVar("F", bound=Callable[..., Any])


class ComponentError(MrcnnError, ValueError):
    """A name that stands for no component; the message lists those there are, or says how to make it known."""


def name_of(component: Any) -> str:
    """The name under which a class or function is found: bare if it is ours, else "module:Name"."""
    module, name = component.__module__, component.__qualname__
    return name if module.partition(".")[0] == "mrcnn" else f"{module}:{name}"


def import_all(package: str | None) -> None:
    """Import the modules of one of our packages, and those that installed packages declare.

    Args:
        package: such as "mrcnn.modeling.backbones"; None: only the declared modules.

    Raises:
        ComponentError: a declared module cannot be imported; names the package that declares it.
    """
    if package is not None:
        parent = importlib.import_module(package)
        for info in pkgutil.iter_modules(getattr(parent, "__path__", ())):
            importlib.import_module(f"{package}.{info.name}")
    for point in entry_points():
        import_declared(point)


@functools.cache
def entry_points() -> tuple[importlib.metadata.EntryPoint, ...]:
    """The modules that installed packages declare in the group `mrcnn.components`."""
    return tuple(importlib.metadata.entry_points(group=GROUP))


def import_declared(point: importlib.metadata.EntryPoint) -> None:
    """Import the module of an entry point.

    Raises:
        ComponentError: it cannot be imported.
    """
    try:
        importlib.import_module(point.module)
    except Exception as error:
        source = point.dist.name if point.dist is not None else "an installed package"
        raise ComponentError(
            f"{source} declares {point.value!r} in the entry points {GROUP!r}, which cannot be imported:"
            f" {type(error).__name__}: {error}"
        ) from error


def subclasses_of(base: type[C], package: str | None) -> dict[str, type[C]]:
    """Every component derived from a base class, by name: built-in, declared by installed packages, or imported.

    Args:
        base: the base class; listed too unless it is abstract (a class attribute `abstract = True` of its own).
        package: where the built-in ones live; None: where `base` itself is defined, which is imported.
    """
    import_all(package)
    classes: dict[str, type[C]] = {}
    pending = [base]
    while pending:
        cls = pending.pop()
        pending += cls.__subclasses__()
        if not vars(cls).get("abstract", False):
            classes[name_of(cls)] = cls
    return dict(sorted(classes.items()))


def instances_of(base: type[C], package: str | None, what: str) -> dict[str, C]:
    """One of each component derived from a base class, by the name it gives itself, or else that of its class.

    Args:
        base: has a class attribute `name: str`; its components are made without arguments.
        package: see `subclasses_of`.
        what: what they are, in the words of the message: "exporters".

    Raises:
        ComponentError: two share a name.
    """
    known: dict[str, C] = {}
    for qualified, cls in subclasses_of(base, package).items():
        name = getattr(cls, "name", "") or qualified
        if name in known:
            raise ComponentError(f"two {what} are named {name!r}: {name_of(type(known[name]))} and {qualified}")
        known[name] = cls()
    return dict(sorted(known.items()))


def find_class(name: str, base: type[C], package: str | None, what: str) -> type[C]:
    """The class a name stands for.

    Args:
        name: "ResNetConfig" for a built-in component, "module:Name" for one of another package.
        base: what it must be derived from.
        package: see `subclasses_of`.
        what: what is looked for, in the words of the message: "backbone".

    Raises:
        ComponentError: nothing of this name is derived from `base`.
    """
    known = subclasses_of(base, package)
    if name in known:
        return known[name]
    raise ComponentError(_unknown(name, known, what))


def mark(kind: str, function: F) -> F:
    """Declare a function to be a component of a kind, such as "mask loss"; only such functions are found by name."""
    setattr(function, _MARK, kind)
    return function


def functions_of(kind: str, package: str) -> dict[str, Callable[..., Any]]:
    """Every function marked as a component of a kind, by name; modules as for `subclasses_of`."""
    import_all(package)
    functions = {}
    for module in list(sys.modules.values()):
        for value in list(getattr(module, "__dict__", {}).values()):
            if callable(value) and getattr(value, "__dict__", {}).get(_MARK) == kind:
                functions[name_of(value)] = value
    return dict(sorted(functions.items()))


def find_function(name: str, kind: str, package: str) -> Callable[..., Any]:
    """The function of a kind that a name stands for.

    Raises:
        ComponentError: there is none of this name and kind.
    """
    known = functions_of(kind, package)
    if name in known:
        return known[name]
    raise ComponentError(_unknown(name, known, kind))


def find_user_function(name: str, what: str) -> Callable[..., Any]:
    """A function of another package or a script, by "module:name", that need not be marked.

    For contracts so narrow that any public function may be tried: it is given symbolic tensors only. Like every
    component it is found only if its module is imported already or declared by an installed package.

    Args:
        name: "package.module:function".
        what: what it is for, in the words of the message: "backbone".

    Raises:
        ComponentError: the module is not imported, or belongs to this package or Python's standard library; or it has
            no public function of this name that is defined in it.
    """
    module, colon, function = name.rpartition(":")
    if not colon or not module or not function:
        raise ComponentError(f'{what}: expected "package.module:function", got {name!r}')
    import_all(None)
    root = module.partition(".")[0]
    if root == "mrcnn" or (root in sys.stdlib_module_names and root != "__main__"):
        raise ComponentError(f"{what} {name!r}: expected a function of a module of yours, not of {root}")
    value = vars(sys.modules[module]).get(function) if module in sys.modules else None
    if not isinstance(value, types.FunctionType) or function.startswith("_") or value.__module__ != module:
        raise ComponentError(_unknown(name, {}, what))
    return value


def _unknown(name: str, known: dict[str, Any], what: str) -> str:
    module, colon, _ = name.rpartition(":")
    if colon and module not in sys.modules:
        return (
            f"{what} {name!r}: the module {module!r} is not imported, and no installed package declares it in the entry"
            f" points {GROUP!r}; import it first (on the command line: mrcnn --import {module} ...)"
        )
    if colon:
        return f"{what} {name!r}: the module {module!r} has no {what} of this name"
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{name!r} is not one of {', '.join(known)}{hint}"
