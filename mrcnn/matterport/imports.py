"""Modules that scripts import by other names than `mrcnn.…`: flat ones, and the `coco` sample."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
from types import ModuleType
from typing import Any

FLAT = {name: f"mrcnn.matterport.{name}" for name in ("config", "model", "parallel_model", "utils", "visualize")}
COCO = {
    "coco": "mrcnn.matterport.coco",
    "samples.coco.coco": "mrcnn.matterport.coco",
    "samples.coco": "mrcnn.matterport.samples_coco",
    "samples": "mrcnn.matterport.samples_coco",
}


class OtherNames(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules of this package under other names, where nothing else is found under them.

    Args:
        names: other name -> module.
    """

    def __init__(self, names: dict[str, str]) -> None:
        self.names = dict(names)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The module of that name, if it is one of `names`."""
        return importlib.util.spec_from_loader(name, self) if name in self.names else None

    def create_module(self, spec: Any) -> ModuleType:
        """The module of this package itself, so that both names mean one thing."""
        return importlib.import_module(self.names[spec.name])

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: it has run."""


def offer(names: dict[str, str]) -> None:
    """Let modules be found by other names from now on; what a script has itself under such a name comes first."""
    for finder in sys.meta_path:
        if isinstance(finder, OtherNames):
            finder.names |= names
            return
    sys.meta_path.append(OtherNames(names))
