from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

import mrcnn
from mrcnn.training.curves import draw_curves, write_history
from mrcnn.weights.model_card import model_card, model_of

ROWS = [
    {"epoch": 1.0, "loss": 3.0, "val_box/AP": 0.2, "val_mask/AP": 0.25, "val_mask/AP50": 0.5},
    {"epoch": 2.0, "loss": 2.0, "val_box/AP": 0.41, "val_mask/AP": 0.375, "val_mask/AP50": 0.625},
    {"epoch": 3.0, "loss": 1.0, "val_box/AP": 0.4, "val_mask/AP": 0.35, "val_mask/AP50": 0.6},
]


def small_run(folder: Path, rows=ROWS, recipe=None, names=("nut", "bolt *M3*")) -> Path:
    """A run's folder as `mrcnn.train` leaves it, of a model small enough to make at once."""
    config = mrcnn.recipes.get("mask_rcnn_efficientnet_lite0_fpn").model.override(
        {
            "num_classes": len(names),
            "neck.channels": 32,
            "rpn.channels": 32,
            "box_head.fc_dims": [32],
            "heads.0.conv_dims": [32],
        }
    )
    model = mrcnn.MaskRCNN(config, names)
    extra = {"recipe": recipe or {"train": {"best_by": "val_mask/AP"}}}
    mrcnn.save_checkpoint(model, folder / "model.safetensors", extra=extra)
    if any("val_mask/AP" in row for row in rows):
        mrcnn.save_checkpoint(model, folder / "best.safetensors", extra=extra)
    write_history(rows, folder / "history.csv")
    draw_curves(rows, folder / "curves.png")
    (folder / "recipe.yaml").write_text("train: {}\n")
    (folder / "run.json").write_text(json.dumps([{"training_set": {"file": "/home/me/nuts.json", "images": 40}}]))
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return small_run(tmp_path_factory.mktemp("card") / "run")


def front_of(card: str) -> dict:
    assert card.startswith("---\n")
    return yaml.safe_load(card.split("---\n")[1])


def test_front_matter_is_what_the_hub_reads(run):
    front = front_of(model_card(run, "lab/nuts", license_id="cc-by-4.0"))
    assert front["license"] == "cc-by-4.0" and front["library_name"] == "mrcnn-keras"
    assert front["pipeline_tag"] == "image-segmentation"
    [entry] = front["model-index"]
    [result] = entry["results"]
    assert entry["name"] == "nuts" and result["dataset"]["name"] == "validation set of nuts.json"
    assert {metric["name"]: metric["value"] for metric in result["metrics"]} == {
        "mask AP": 37.5,
        "mask AP50": 62.5,
        "box AP": 41.0,
    }


def test_the_hubs_own_package_reads_it(run):
    hub = pytest.importorskip("huggingface_hub", reason="needs huggingface_hub (pip install 'mrcnn-keras[hf]')")
    card = hub.ModelCard(model_card(run, "lab/nuts", license_id="mit"))
    assert card.data.license == "mit" and card.data.pipeline_tag == "image-segmentation"
    assert {result.metric_name: result.metric_value for result in card.data.eval_results}["mask AP"] == 37.5


def test_text(run):
    card = model_card(run, "lab/nuts")
    assert "after epoch 2, the best" in card and "| 37.5 | 62.5 | 41.0 |" in card
    assert "1. nut\n2. bolt \\*M3\\*\n" in card
    assert "(curves.png)" in card and 'load_pretrained("hf://lab/nuts")' in card
    assert "on 40 images of `nuts.json`" in card and "/home/me" not in card
    assert "Not stated by its author." in card and front_of(card)["license"] == "unknown"
    last = model_card(run, "lab/nuts", last=True)
    assert "after epoch 3, the last" in last and "| 35.0 | 60.0 | 40.0 |" in last


def test_the_best_is_by_what_the_recipe_says(tmp_path):
    rows = [{**row, "val_loss": loss} for row, loss in zip(ROWS, (1.0, 3.0, 2.0), strict=True)]
    run = small_run(tmp_path, rows, {"train": {"best_by": "-val_loss"}})
    assert "after epoch 1, the best" in model_card(run, "lab/nuts")


def test_a_run_without_evaluation_claims_nothing(tmp_path):
    run = small_run(tmp_path, [{"epoch": 1.0, "loss": 3.0}])
    card = model_card(run, "lab/nuts")
    assert "No average precision was measured" in card and "model-index" not in front_of(card)
    for name in ("history.csv", "run.json", "curves.png"):
        (run / name).unlink()
    card = model_card(run, "lab/nuts")
    assert "No average precision was measured" in card and "curves" not in card


def test_what_is_no_run_is_named(tmp_path):
    with pytest.raises(mrcnn.WeightsError, match="expected the folder of a training run"):
        model_of(tmp_path / "absent", last=False)
    with pytest.raises(mrcnn.WeightsError, match=r"no best\.safetensors or model\.safetensors there"):
        model_of(tmp_path, last=False)
