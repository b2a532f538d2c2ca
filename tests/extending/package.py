"""A page of docs/extending as a package of its own: written outside the tree, declared by an entry point, and run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES = 60


def blocks(page: str) -> list[str]:
    """The Python blocks of docs/extending/PAGE.md, in order."""
    text = (ROOT / "docs" / "extending" / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def install(site: Path, page: str) -> str:
    """The module of a page (its first block, which names its file) as an installed package; returns its name."""
    code = blocks(page)[0]
    assert len(code.splitlines()) <= MOST_LINES, f"docs/extending/{page}.md: {len(code.splitlines())} lines"
    module = re.match(r"# (\w+)\.py\n", code)[1]
    site.mkdir(exist_ok=True)
    (site / f"{module}.py").write_text(code, encoding="utf-8")
    info = site / f"{module}_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}-package\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[mrcnn.components]\nmine = {module}\n", encoding="utf-8")
    return module


def run(site: Path, script: str, *arguments: str) -> str:
    """Runs a script in a fresh process that sees the packages of `site`; returns what it prints."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=site, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


TRAIN = """
import json, sys
import keras
import numpy as np
import mrcnn
from mrcnn.modeling.mask_rcnn import MaskRCNN, MaskRCNNConfig
from mrcnn.modeling.variables import named_variables

keras.utils.set_random_seed(0)
model = MaskRCNN(MaskRCNNConfig.from_dict(json.loads(sys.argv[1])), ["thing", "other"])
rng = np.random.default_rng(0)
batch = {
    "image": rng.integers(0, 256, (1, 64, 64, 3)).astype(np.uint8),
    "image_id": np.array([1], np.int64),
    "original_shape": np.array([[64, 64]], np.int32),
    "content_shape": np.array([[64, 64]], np.int32),
    "gt_boxes": np.array([[[6, 8, 60, 50]]], np.float32),
    "gt_class_ids": np.array([[1]], np.int32),
    "gt_masks": np.ones((1, 1, 28, 28), np.uint8),
    "gt_crowd": np.zeros((1, 1), bool),
    "gt_valid": np.ones((1, 1), bool),
    "seed": np.array([[1, 2]], np.int32),
}
before = {path: np.asarray(variable) for path, variable in named_variables(model).items()}
model.compile(keras.optimizers.SGD(1e-4), run_eagerly=True)
logs = model.train_on_batch(batch, return_dict=True)
assert np.isfinite(list(logs.values())).all(), logs
after = {path: np.asarray(variable) for path, variable in named_variables(model).items()}
model.box_head.class_logits.bias.assign([0.0, 1.0, 0.0])
mrcnn.save_checkpoint(model, "model.safetensors")
(found,) = mrcnn.detect(model, batch["image"][0], score_threshold=0.0)
assert len(found) > 2
np.savez("found.npz", boxes=found.boxes, scores=found.scores, **{k: v for k, v in found.extra.items()})
changed = [path for path in after if (after[path] != before[path]).any()]
print(json.dumps({"losses": logs, "changed": changed, "paths": list(after)}))
"""
"""Argument: a model's config, JSON. Trains a step; writes model.safetensors and what the model detects."""

DETECT = """
import numpy as np
import mrcnn

model = mrcnn.load_model("model.safetensors")
expected = np.load("found.npz")
image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.uint8)[0]
(found,) = mrcnn.detect(model, image, score_threshold=0.0)
for name in expected:
    value = getattr(found, name) if name in ("boxes", "scores") else found.extra[name]
    np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-4)
print(type(model.config.backbone).__name__, *(type(head).__name__ for head in model.config.heads))
"""
"""Loads model.safetensors and detects the same."""
