"""`mrcnn.utils` of matterport: boxes, masks, anchors, images and average precision in NumPy, and `Dataset`.

Boxes are (y1, x1, y2, x2), y2 and x2 just outside. What the components of this package have is asked of them.
"""

from __future__ import annotations

import contextlib
import logging  # noqa: F401 - a name of this module, as those below
import math  # noqa: F401
import os  # noqa: F401
import random  # noqa: F401
import shutil  # noqa: F401
import sys  # noqa: F401
import urllib.request  # noqa: F401
import warnings  # noqa: F401
import xml.etree.ElementTree  # noqa: F401 - scripts use it after importing no more than `xml.etree`
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from mrcnn.matterport.average_precision import *  # noqa: F403
from mrcnn.matterport.boxes import *  # noqa: F403
from mrcnn.matterport.dataset import Dataset as Dataset
from mrcnn.matterport.fetch import COCO_MODEL_URL as COCO_MODEL_URL
from mrcnn.matterport.fetch import fetch
from mrcnn.matterport.names import imported
from mrcnn.matterport.resizing import *  # noqa: F403

with contextlib.suppress(ImportError):  # scripts that import `skimage.draw` go on to use `skimage.io`
    import skimage.color
    import skimage.io
    import skimage.transform  # noqa: F401

_IMPORTED = {"LooseVersion": "packaging.version:Version", "scipy": "scipy", "skimage": "skimage"}


def __getattr__(name: str) -> Any:
    return imported(__name__, _IMPORTED, name)


def mold_mask(mask: np.ndarray, config: Any) -> None:
    """Never did anything."""


def batch_slice(inputs: Any, graph_fn: Callable[..., Any], batch_size: int, names: Any = None) -> Any:
    """A function of one image's tensors on each image of a batch, the results stacked."""
    inputs = inputs if isinstance(inputs, list) else [inputs]
    outputs = []
    for i in range(batch_size):
        output = graph_fn(*[x[i] for x in inputs])
        outputs.append(output if isinstance(output, (tuple, list)) else [output])
    names = [None] * len(outputs[0]) if names is None else names
    result = [tf.stack(parts, axis=0, name=name) for parts, name in zip(zip(*outputs, strict=True), names, strict=True)]
    return result[0] if len(result) == 1 else result


def download_trained_weights(coco_model_path: str, verbose: int = 1) -> None:
    """Fetch matterport's COCO weights to a path.

    The file is fetched once for all scripts, into the cache of `mrcnn download`, resumed after a break, and compared
    with the length and MD5 digest of the release before it gets its name.

    Raises:
        OSError: they cannot be fetched, or what came is not what was sent; says from where and what to do.
    """
    if verbose > 0:
        print(f"Downloading pretrained model to {coco_model_path} ...")
    try:
        fetch(COCO_MODEL_URL, coco_model_path, quiet=verbose == 0)
    except OSError as error:
        raise OSError(
            f"{COCO_MODEL_URL} cannot be fetched ({error}); put that file at {coco_model_path} by other means"
        ) from error
    if verbose > 0:
        print("... done downloading pretrained model!")
