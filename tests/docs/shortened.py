"""Runs a script, or `-m mrcnn` with its arguments, as it is printed in the docs, but with training cut to one step.

What is cut: the length of a run, and the size of the images of recipes, from hours to seconds.
"""

from __future__ import annotations

import runpy
import sys
from typing import Any

import mrcnn

_get, _train = mrcnn.recipes.get, mrcnn.train
_SMALL = {"model.input.short_side": 64, "model.input.long_side": 96, "data.short_sides": [], "data.mask_side": 28}
_SHORT = {"train.images": 2, "train.batch_size": 2}


def _small_recipe(name: Any) -> mrcnn.Recipe:
    return _get(name).override(_SMALL)


def _short_train(*args: Any, recipe: mrcnn.Recipe, **kwargs: Any) -> Any:
    return _train(*args, recipe=recipe.override(_SHORT), **kwargs)


mrcnn.recipes.get = _small_recipe
mrcnn.train = _short_train

if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    if sys.argv[0] == "-m":
        sys.argv = sys.argv[1:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, ".")
        runpy.run_path(sys.argv[0], run_name="__main__")
