"""Transformers from random weights overfit four images, resumed in the middle as if nothing had happened.

The first losses after it are those of the run that went on, to the last bit. Gradients are only up to rounding:
TensorFlow adds up three and more of them in the order in which their buffers become free, so that those of Swin-T
differ by some 5e-7 of themselves from one run to the next, resumed or not, in one of several on a busy machine.

Run by `pytest -m overfit`.
"""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path

import keras
import numpy as np
import pytest

from mrcnn import recipes
from mrcnn.data.formats.coco import load_coco
from mrcnn.recipes import Recipe
from mrcnn.training.checkpoints import Checkpoints
from mrcnn.training.evaluation_run import evaluate
from mrcnn.training.fit import train
from tests.training.drawn import weights

EPOCH, MORE = 20, 3  # steps from a checkpoint to the next; of the first half beyond its last checkpoint
ROUNDING = 5e-6  # a step changes a weight by up to 3e-4


def vit_s() -> Recipe:
    """ViTDet with the width and heads of ViT-S."""
    recipe = recipes.get("vitdet_b")
    backbone = dataclasses.replace(recipe.model.backbone, width=384, num_heads=6, grid=16)
    assert backbone.title == "ViT S"
    train = dataclasses.replace(recipe.train, layer_rates=backbone.layer_rates(0.9))
    return dataclasses.replace(recipe, model=dataclasses.replace(recipe.model, backbone=backbone), train=train)


def swin_t() -> Recipe:
    recipe = recipes.get("mask_rcnn_swin_t_fpn")
    assert recipe.model.backbone.title == "Swin T"
    return recipe


def in_small(recipe: Recipe, steps: int) -> Recipe:
    """The recipe on small images, with small heads and few RoIs: its backbone is what is looked at."""
    small = {
        "model.backbone.drop_path": 0.1,
        "model.input.short_side": 192,
        "model.input.long_side": 256,
        "model.input.canvas": "divisor",
        "model.neck.channels": 64,
        "model.rpn.channels": 64,
        "model.rpn.pre_nms_train": 200,
        "model.rpn.post_nms_train": 100,
        "model.roi_sampler.num_rois": 48,
        "model.box_head.conv_dims": [],
        "model.box_head.fc_dims": [128],
        "model.heads.0.conv_dims": [64, 64],
        "model.heads.0.deconv_dim": 64,
        "model.heads.0.num_foreground": 12,
        "data.short_sides": [],
        "data.crop": None,
        "data.scale_jitter": None,
        "data.flip_horizontal": 0.0,
        "train.batch_size": 4,
        "train.images": 4 * steps,
        "train.learning_rate": 2e-3,
        "train.weight_decay": 0.01,
        "train.schedule": "cosine",
        "train.clip_norm": 5.0,
        "train.warmup_images": 80,
        "train.eval_every_epochs": steps,
    }
    return recipe.override(small)


class Watch(keras.callbacks.Callback):
    """Keeps the losses of the first of its last MORE steps, and the weights after so many steps.

    It may then ask the process to stop, as a scheduler of jobs does.
    """

    def __init__(self, steps: int, stop: bool = False) -> None:
        super().__init__()
        self.left, self.stop, self.first, self.seen = steps, stop, {}, {}

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == MORE - 1:
            self.first = {name: float(value) for name, value in self.model.get_metrics_result().items()}
        if self.left == 0:
            self.seen = weights(self.model)
            if self.stop:
                signal.raise_signal(signal.SIGTERM)


@pytest.mark.overfit
@pytest.mark.parametrize(("recipe", "steps"), [(vit_s, 320), (swin_t, 120)], ids=["vit_s", "swin_t"])
def test_four_images_are_overfit_by_a_run_resumed_in_its_middle(recipe, steps, data_dir, tmp_path):
    images = load_coco(data_dir / "nuts3" / "annotations.json", data_dir / "nuts3")
    often = images.merge(*[images] * (EPOCH - 1))
    recipe, out = in_small(recipe(), steps), tmp_path / "run"
    beyond, after = Watch(steps // 2 + MORE, stop=True), Watch(MORE)
    with pytest.raises(SystemExit):
        train(new_model(recipe, images), often, recipe=recipe, out=out, callbacks=[beyond], progress=False)
    last, middle = Checkpoints(out).steps()[:2]
    assert (last, middle) == (steps // 2 + MORE, steps // 2)
    newest(out).unlink()  # so that the run goes on from its middle and repeats the steps that were seen

    model = new_model(recipe, images, seed=1)
    history = train(model, often, recipe=recipe, out=out, resume=True, callbacks=[after], progress=False).history
    assert beyond.first == after.first and after.first
    assert beyond.seen.keys() == after.seen.keys() and after.seen
    for name, value in beyond.seen.items():
        np.testing.assert_allclose(after.seen[name], value, rtol=0, atol=ROUNDING, err_msg=name)
    assert len(history["loss"]) == steps // EPOCH and np.isfinite(history["loss"]).all()

    result = evaluate(model, images)
    print(result)
    assert result["mask/AP50"] >= 0.9 and result["box/AP50"] >= 0.9


def new_model(recipe: Recipe, images, seed: int = 0):
    keras.utils.set_random_seed(seed)
    return recipe.build_model(images.class_names, images.category_ids)


def newest(out: Path) -> Path:
    return max((out / "checkpoints").glob("step_*.safetensors"))
