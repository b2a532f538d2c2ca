"""The whole way at once: four images are overfit. Run by `pytest -m overfit`."""

from __future__ import annotations

import numpy as np
import pytest

from mrcnn import recipes
from mrcnn.data.formats.coco import load_coco
from mrcnn.inference import detect
from mrcnn.training.evaluation_run import evaluate
from mrcnn.training.fit import train
from mrcnn.weights import WeightsError, load_imagenet
from mrcnn.weights.efficientnet_lite import imagenet_path

STEPS = 120  # 75 have been enough for an AP50 of 1


@pytest.mark.overfit
def test_four_images_are_overfit(data_dir):
    try:
        imagenet_path()
    except WeightsError as error:
        pytest.skip(str(error))
    images = load_coco(data_dir / "nuts3" / "annotations.json", data_dir / "nuts3")
    assert (len(images), images.class_names) == (4, ("date", "fig", "hazelnut"))
    recipe = recipes.get("mask_rcnn_efficientnet_lite0_fpn").override(
        {
            "data.short_sides": [],
            "model.input.short_side": 288,
            "model.input.long_side": 384,
            "train.batch_size": 4,
            "train.images": 4 * STEPS,
            "train.warmup_images": 100,
            "train.eval_every_epochs": STEPS,
        }
    )
    model = recipe.build_model(images.class_names, images.category_ids)
    assert load_imagenet(model.backbone, model.config.backbone).is_complete
    history = train(model, images, recipe=recipe, progress=False).history
    assert len(history["loss"]) == STEPS
    assert np.isfinite(history["loss"]).all()
    assert history["loss"][-1] < 0.2 * history["loss"][0]

    result = evaluate(model, images)
    print(result)
    assert result["mask/AP50"] >= 0.9
    assert result["box/AP50"] >= 0.9
    wrong = 0
    for index in range(len(images)):
        detections = detect(model, [images.load_image(index)], score_threshold=0.5)[0]
        ground_truth = images.instances(index)
        wrong += np.abs(
            np.bincount(detections.class_ids, minlength=4) - np.bincount(ground_truth.class_ids, minlength=4)
        ).sum()
    assert wrong <= 2  # misses and ghosts among 35 objects
