"""`python -m mrcnn.matterport script.py args...`: a script with what an import of `mrcnn` comes too late to mend.

imgaug can be imported before `mrcnn`; `import model as modellib`, `import utils`, `import config` and so on find
the modules of this package, unless the script's own folder has files of these names.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import os
import runpy
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from mrcnn.matterport.repair import repair_numpy

FLAT = ("config", "model", "parallel_model", "utils", "visualize")


class FlatImports(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds `model` as `mrcnn.model`, and so on, where nothing else is found under that name."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The module of that name, if it is one of `FLAT`."""
        return importlib.util.spec_from_loader(name, self) if name in FLAT else None

    def create_module(self, spec: Any) -> ModuleType:
        """The module of this package itself, so that both names mean one thing."""
        return importlib.import_module(f"mrcnn.matterport.{spec.name}")

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: it has run."""


def main(arguments: Sequence[str]) -> None:
    """Run the script that the first argument names, with the others as its own."""
    if not arguments or not os.path.isfile(arguments[0]):
        given = f"there is no {arguments[0]}" if arguments else "none was given"
        raise SystemExit(f"usage: python -m mrcnn.matterport script.py [its arguments]; {given}")
    repair_numpy()
    sys.meta_path.append(FlatImports())
    sys.argv = list(arguments)
    sys.path.insert(0, os.path.dirname(os.path.abspath(arguments[0])))
    runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
