"""Checkpoints of a few kilobytes whose config asks for a model of gigabytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from mrcnn.modeling.mask_rcnn import MaskRCNNConfig
from tests.tiny_model import tiny_config
from tests.weights.limited import read_in_child

CHANGES: dict[str, dict[str, Any]] = {
    "channels": {"neck.channels": 12_000},
    "rpn_channels": {"rpn.channels": 12_000},
    "num_convs": {"rpn.num_convs": 1_000_000},
    "fc_dims": {"box_head.fc_dims": [100_000, 100_000]},
    "pool_size": {"box_head.pool.size": 4_000},
    "conv_dims": {"heads.0.conv_dims": [50_000, 50_000]},
    "many_convs": {"heads.0.conv_dims": [8] * 20_000},
    "deconv_dim": {"heads.0.deconv_dim": 10**6},
    "groups": {"backbone.groups": 10**6},
    "width_per_group": {"backbone.width_per_group": 10**5},
    "anchors": {"rpn.anchors.sizes": [list(range(1, 3_000))] * 5, "rpn.anchors.ratios": list(range(1, 3_000))},
    "negative": {"neck.channels": -1},
    "enormous": {"neck.channels": 10**30},
}
OF_OTHER_CLASSES = ("channels", "num_convs", "fc_dims", "num_classes")


def _checkpoint(path: Path, changes: dict[str, Any], **others: Any) -> Path:
    is_resnet = any(path.startswith("backbone.") for path in changes)
    data: dict[str, Any] = (MaskRCNNConfig() if is_resnet else tiny_config()).to_dict()
    class_names = [f"c{i}" for i in range(data["num_classes"])]
    for dotted, value in changes.items():
        *parents, last = dotted.split(".")
        node: Any = data
        for step in parents:
            node = node[int(step)] if isinstance(node, list) else node[step]
        node[last] = value
    metadata = {"format": "mrcnn/1", "model": data, "class_names": class_names, **others}
    arrays = {"rpn/deltas/bias": np.zeros(12, np.float32)}
    safetensors.numpy.save_file(arrays, path, metadata={"mrcnn": json.dumps(metadata)})
    return path


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("hostile")
    paths = {name: _checkpoint(folder / f"{name}.safetensors", changes) for name, changes in CHANGES.items()}
    classes: dict[str, Any] = {"class_names": None, "category_ids": None}
    paths["num_classes"] = _checkpoint(folder / "num_classes.safetensors", {"num_classes": 10**9}, **classes)
    run = {"format": "mrcnn-run/1", "crc32": {}, "recipe": {"model": {"num_classes": 10**9}}}
    paths["run"] = _checkpoint(folder / "run.safetensors", {}, **run)
    some = {f"{name} of other classes": paths[name] for name in OF_OTHER_CLASSES}
    outcomes = read_in_child(paths, "checkpoint.load_model", megabytes=1000)
    return outcomes | read_in_child(
        some, "(lambda path: pretrained.load_pretrained(path, num_classes=3))", megabytes=1000
    )


@pytest.mark.slow
@pytest.mark.parametrize("case", [*CHANGES, "num_classes", "run", *(f"{n} of other classes" for n in OF_OTHER_CLASSES)])
def test_no_model_is_built_that_the_file_cannot_fill(outcomes: dict[str, Any], case: str) -> None:
    name, _, _ = case.partition(" ")
    error, seconds = outcomes[case]
    assert error is not None and error[0] == "WeightsError", error
    assert f"{name}.safetensors" in error[1]
    assert len(error[1]) < 3_000
    assert seconds < 60
