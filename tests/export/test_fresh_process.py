"""Exported files load where nothing else was imported: every component of a config is found by its name alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mrcnn
from mrcnn import recipes
from mrcnn.export.errors import ExportError
from mrcnn.inference import detect
from tests.export.conftest import FORMATS
from tests.tiny_model import noise_images

ROOT = Path(__file__).parents[2]

DESCRIPTIONS = """
import json, os, sys
import mrcnn
load = getattr(mrcnn, f"load_{sys.argv[1]}")  # imports what a user of this loader has imported, and nothing else
from mrcnn.export.portable import read_description
descriptions = json.load(sys.stdin)
components = ("mrcnn.modeling.backbones.", "mrcnn.modeling.heads.", "mrcnn.modeling.necks.")
before = {name for name in sys.modules if name.startswith(components)}
for name, text in descriptions.items():
    child = os.fork()  # each from the same fresh start: what one description imports, the next does not have
    if not child:
        stored = json.loads(text)["config"]
        assert {m for m in sys.modules if m.startswith(components)} == before
        ok = read_description(text, name).config.to_dict() == stored
        os._exit(0 if ok else 1)
    _, status = os.waitpid(child, 0)
    print(name, os.waitstatus_to_exitcode(status))
"""

LOAD = """
import sys
import numpy as np
import mrcnn
loaded = getattr(mrcnn, f"load_{sys.argv[1]}")(sys.argv[2])
(result,) = mrcnn.detect(loaded, np.load(sys.argv[3]), score_threshold=None)
np.savez(sys.argv[4], boxes=result.boxes, scores=result.scores, masks=result.masks if result.masks is not None else 0)
"""


def run_alone(code: str, *arguments: object, text: str = "") -> str:
    """What a fresh interpreter prints that was given this code."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, input=text, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a fresh start for each description needs fork")
@pytest.mark.parametrize(
    "loader", [pytest.param(name, marks=[] if name == "onnx" else pytest.mark.slow) for name in FORMATS]
)
def test_the_config_of_every_recipe_is_read(loader):
    descriptions = {
        name: json.dumps({"config": recipe.model.to_dict(), "class_names": ["thing"], "category_ids": [1]})
        for name, recipe in recipes.named().items()
    }
    said = run_alone(DESCRIPTIONS, loader, text=json.dumps(descriptions))
    assert dict(line.split() for line in said.splitlines()) == dict.fromkeys(descriptions, "0")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "onnx" else pytest.mark.slow) for name in FORMATS]
)
def test_a_file_loads_and_runs(name, model, exported_file, tmp_path):
    (image,) = noise_images(1)
    np.save(tmp_path / "image.npy", image)
    run_alone(LOAD, name, exported_file(name), tmp_path / "image.npy", tmp_path / "found.npz")
    (expected,) = detect(model, image, score_threshold=None)
    with np.load(tmp_path / "found.npz") as result:
        np.testing.assert_allclose(result["scores"], expected.scores, rtol=0, atol=1e-4)
        # Scores that differ by rounding alone may stand in another order.
        order = np.abs(result["boxes"][:, None] - expected.boxes).max(-1).argmin(0)
        assert sorted(order) == list(range(len(order)))
        np.testing.assert_allclose(result["boxes"][order], expected.boxes, rtol=0, atol=1e-2)
        assert (result["masks"][order] != np.asarray(expected.masks)).mean() < 1e-3


SMALL = {
    "model.input.short_side": 128,
    "model.input.long_side": 160,
    "model.rpn.pre_nms_test": 100,
    "model.rpn.post_nms_test": 100,
}


@pytest.mark.slow
def test_adaptive_sampling_has_no_form_in_litert(tmp_path):
    pytest.importorskip("ai_edge_litert")
    adaptive = {"model.box_head.pool.sampling_ratio": 0}
    made = recipes.get("mask_rcnn_efficientnet_lite0_fpn").override({**SMALL, **adaptive}).build_model(["one"])
    with pytest.raises(ExportError, match="has no LiteRT form"):
        FORMATS["tflite"][0](made, tmp_path / "model.tflite", images=noise_images(1))


def test_every_loader_is_a_public_name():
    for name in FORMATS:
        assert f"load_{name}" in mrcnn.__all__
