"""A small model over any backbone: what a step changes, and what a fresh process makes of its file."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np

from mrcnn.modeling.backbones.base import BackboneConfig
from mrcnn.modeling.mask_rcnn import MaskRCNN
from mrcnn.modeling.necks.base import NeckConfig
from mrcnn.modeling.variables import named_variables
from mrcnn.weights.checkpoint import load_model, save_checkpoint
from tests.ground_truth import batch_of
from tests.tiny_model import tiny_config

READ = """
import sys
import numpy as np
import mrcnn
model = mrcnn.load_model(sys.argv[1])
features = model.backbone(np.full((1, 64, 64, 3), 0.5, np.float32))
np.save(sys.argv[2], features[max(features)])
"""
"""Writes the coarsest features of a gray image, of the model in a file."""


def c5_of(model: MaskRCNN) -> np.ndarray:
    """What `READ` writes."""
    features = model.backbone(np.full((1, 64, 64, 3), 0.5, np.float32))
    return features[max(features)].numpy()


def after_a_step(backbone: BackboneConfig, neck: NeckConfig | None = None) -> tuple[MaskRCNN, set[str], dict[str, int]]:
    """The model, the paths of what one training step changed, and the stage of each variable of the backbone."""
    keras.utils.set_random_seed(3)
    config = tiny_config()
    config = dataclasses.replace(config, backbone=backbone, neck=config.neck if neck is None else neck)
    model = MaskRCNN(config, ["thing", "other"])
    model.compile(keras.optimizers.SGD(0.01))
    before = {path: variable.numpy() for path, variable in named_variables(model).items()}
    image = np.random.default_rng(0).integers(0, 255, (96, 128, 3)).astype(np.uint8)
    model.train_on_batch(batch_of([image], [[{"box": (8, 8, 60, 70)}]]))
    changed = {path for path, v in named_variables(model).items() if not np.array_equal(v.numpy(), before[path])}
    stages = {path: backbone.stage_of(path.split("/")[1]) for path in before if path.startswith("backbone/")}
    return model, changed, stages


def check_fresh_process(model: MaskRCNN, folder: Path, read: str = READ) -> MaskRCNN:
    """A process that runs `read` over the model's file computes what this one does; the model as it was loaded."""
    path, out = folder / "model.safetensors", folder / "c5.npy"
    save_checkpoint(model, path)
    loaded = load_model(path)
    subprocess.run([sys.executable, "-c", read, path, out], check=True, cwd=Path(__file__).parents[2])
    np.testing.assert_allclose(np.load(out), c5_of(loaded), atol=1e-6)
    return loaded
