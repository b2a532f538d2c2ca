"""docs/migrating_from_matterport.md: the last table says that two ways do the same; here they do."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import tensorflow as tf

import mrcnn
from mrcnn import model as modellib
from mrcnn import utils
from mrcnn.evaluation.coco import CocoMetric
from mrcnn.matterport import batches, native_config, training
from mrcnn.modeling.losses.base import MaskLogits
from mrcnn.modeling.losses.cross_entropy import MaskCrossEntropy
from mrcnn.modeling.normalize import make_norm
from mrcnn.recipes import Recipe
from mrcnn.structures.instances import Instances
from tests.matterport import script_data
from tests.matterport.small import SmallConfig, SmallDataset, finding_model, small_dataset

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/migrating_from_matterport.md").read_text(encoding="utf-8")
HEADS = ["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_bbox", "mrcnn_mask"]
HERE = "tests/matterport/test_migration_doc.py"
# First words of a row's left side -> the test that shows it; the order is the guide's.
ROWS = {
    "`class C(Config)`": f"{HERE}::test_config_by_attribute_and_by_recipe",
    "`utils.Dataset`": f"{HERE}::test_a_data_set_in_both_ways",
    "a loop over": f"{HERE}::test_via_by_hand_and_by_reader",
    "`CocoDataset`": f"{HERE}::test_coco_by_hand_and_by_reader",
    '`model.load_weights("mask': f"{HERE}::test_weights_of_matterports_layout",
    "`exclude=": f"{HERE}::test_other_classes",
    "`model.keras_model.save": f"{HERE}::test_files_of_a_model",
    "`model.load_weights(model": f"{HERE}::test_files_of_a_model",
    "`model.detect": f"{HERE}::test_detections",
    "`model.train": "tests/training/test_fit.py::test_a_run_leaves_its_files_and_nothing_half_written",
    "`layers=": f"{HERE}::test_stages_of_training",
    "`modellib.load_image_gt": f"{HERE}::test_images_and_ground_truth",
    "`modellib.data": "tests/data/pipeline/test_assembly.py::test_same_seed_same_batches_whatever_the_workers",
    "`model.run_graph": "tests/modeling/test_stages.py::test_targets_are_what_a_step_trains_on",
    "`visualize.display_instances": f"{HERE}::test_drawings",
    "`visualize.display_diff": f"{HERE}::test_drawings",
    "`visualize.draw_boxes": "tests/drawing/test_stages.py::test_refined_boxes_are_solid_where_the_others_are_dashed",
    "`utils.compute_ap`": f"{HERE}::test_average_precision",
    "freezing": "tests/export/test_saved_model.py::test_reloaded_elsewhere_it_answers_as_here",
}


DIFFERENT = {
    "`GPU_COUNT`": "tests/matterport/test_training.py::test_parallel_model_is_the_model",
    "masks under": "tests/data/test_augmenters.py::test_image_and_masks_alone",
    "classes of other": f"{HERE}::test_classes_of_other_sources_count",
    "files of 16-bit": "tests/matterport/test_dataset.py::test_16_bits_become_8",
    "TensorBoard": f"{HERE}::test_tensorboard_only_where_it_is_installed",
    "results of `detect`": f"{HERE}::test_crops_are_for_training",
    "moving statistics": f"{HERE}::test_moving_statistics_of_trained_norms",
    "mask logits": f"{HERE}::test_sure_and_wrong_masks_still_train",
    "images of several": "tests/matterport/test_feed.py::test_images_of_other_sizes_in_one_batch_are_refused",
    "a data set without": "tests/matterport/test_feed.py::test_what_cannot_be_shown_is_left_out",
    "whole numbers of": "tests/matterport/test_utils.py::test_resize_image_is_matterports",
    "`keras_model.summary": "tests/matterport/test_summary.py::test_layers_and_numbers_are_those_of_matterports_model",
}


def rows(section):
    """Cells of the rows of a section's table, its head left out."""
    text = GUIDE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = [line.strip("| ") for line in text.splitlines() if line.startswith("|")]
    return [re.split(r"\s*\|\s*", line) for line in lines[2:]]


def test_every_row_has_a_test():
    detections, where_shown = rows("To move on"), ROWS | DIFFERENT
    detections += [row[:2] for row in rows("What is different")]
    assert len(detections) == len(where_shown)
    for (left, _), (start, where) in zip(detections, where_shown.items(), strict=True):
        assert left.startswith(start), left
        path, name = where.split("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


ACTIVE = ([1, 0, 0, 0], [1, 1, 1, 1])  # classes of the image's source: background only, all


def test_classes_of_other_sources_count():
    data = small_dataset(1)
    data.add_class("others", 1, "ring")
    data.prepare()
    (batch,) = training._feed(data, SmallConfig()).batches().take(1)
    assert not any("active" in name for name in batch)  # nothing tells the loss which classes the image's source has
    assert modellib.load_image_gt(data, SmallConfig(), 0)[1][12:].tolist() == [1, 1, 1, 0]
    inputs, _ = next(modellib.data_generator(data, SmallConfig(), shuffle=False, batch_size=1))
    none = [*inputs]
    none[1] = np.where(np.arange(inputs[1].shape[1]) < 12, inputs[1], 0)  # no class is of the image's source
    given = batches.as_batch(inputs, SmallConfig()), batches.as_batch(none, SmallConfig())
    assert given[0].keys() == given[1].keys()
    for name, value in given[0].items():
        if name == "seed":  # new for every batch
            continue
        np.testing.assert_array_equal(value, given[1][name], err_msg=name)  # the model is given the same
    logits = tf.constant([[[0.0, 5.0, 0.0, 0.0]]])  # while matterport's loss leaves out a sure error of such a class
    loss = [float(modellib.mrcnn_class_loss_graph(tf.constant([[2]]), logits, tf.constant([a]))) for a in ACTIVE]
    assert loss[0] == pytest.approx(0.0) and loss[1] > 4.0


def test_tensorboard_only_where_it_is_installed(monkeypatch, tmp_path):
    monkeypatch.setattr(training.importlib.util, "find_spec", lambda name: None)
    assert training._tensorboard(str(tmp_path)) == []


def test_crops_are_for_training(monkeypatch):
    config = SmallConfig()
    config.IMAGE_RESIZE_MODE = "crop"
    assert native_config.model_config(config).input.canvas == "divisor"  # as large as the whole image needs
    data = small_dataset(1)
    assert modellib.load_image_gt(data, config, 0)[0].shape == (64, 64, 3)
    seen = []
    model = SimpleNamespace(config=config, keras_model=None, _on_canvas=lambda *of: seen.append(of))
    monkeypatch.setattr("mrcnn.matterport.detector.as_result", lambda _: {})
    image = data.load_image(0)
    modellib.MaskRCNN._detect_one(model, image.astype(np.float32))
    [(canvas, window, shape)] = seen
    assert canvas.shape == (64, 128, 3) and shape == (48, 64)  # of 48 x 64 pixels all, 4 / 3 as large
    assert tuple(window) == (0, 21, 64, 106)


def test_moving_statistics_of_trained_norms():
    class Trained(SmallConfig):
        TRAIN_BN = True

    assert native_config.model_config(Trained()).backbone.norm == "bn" and make_norm("bn").momentum == 0.9


def test_sure_and_wrong_masks_still_train():
    logits = tf.Variable(tf.fill([1, 1, 2, 2, 1], 20.0))
    with tf.GradientTape() as tape:
        masks = MaskLogits(logits, tf.zeros([1, 1], tf.int32), "sigmoid")
        loss = MaskCrossEntropy()(masks, tf.zeros([1, 1, 2, 2]))
    assert float(tf.reduce_sum(tape.gradient(loss, logits))) == pytest.approx(1.0)
    ours = float(tf.reduce_sum(loss))
    theirs = float(modellib.mrcnn_mask_loss_graph(tf.zeros([1, 1, 2, 2]), tf.ones([1, 1]), tf.sigmoid(
        tf.tile(logits, [1, 1, 1, 1, 2]))))  # fmt: skip
    assert ours == pytest.approx(20.0) and theirs == pytest.approx(16.0, abs=0.2)  # at most -log(1e-7)


def test_every_name_in_the_guide_exists():
    native = set(re.findall(r"(?<![\w./@-])mrcnn\.([a-z]\w*)", GUIDE)) - {"matterport", "config", "model", "utils"}
    assert native <= set(mrcnn.__all__) | {"evaluate"}, native - set(mrcnn.__all__)
    for module, name in re.findall(r"`(?:\w+ )?(modellib|utils|visualize)\.(\w+)", GUIDE):
        home = __import__("mrcnn." + {"modellib": "model"}.get(module, module), fromlist=[name])
        assert hasattr(home, name), f"{module}.{name}"
    fields = re.findall(r'"((?:train|data|model)\.[\w.]+)"', GUIDE)
    assert fields
    for field in fields:
        Recipe().override({field: getattr(getattr(Recipe(), field.split(".")[0]), field.split(".")[1])})


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return finding_model(tmp_path_factory.mktemp("logs"))


@pytest.fixture(scope="module")
def image():
    rng = np.random.default_rng(0)
    return np.repeat(np.repeat(rng.integers(0, 256, (5, 8, 3)), 10, 0), 10, 1).astype(np.uint8)


@pytest.fixture(scope="module")
def weights(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "mask_rcnn_small.h5"
    model.keras_model.save_weights(str(path))
    return path


def same_config(model):
    """What a file of weights does not hold: the config of the Config that made it."""
    config = model.keras_model.config
    return {
        "short_side": config.input.short_side,
        "long_side": config.input.long_side,
        "score_threshold": config.box_head.score_threshold,
        "max_detections": config.box_head.max_detections,
        "nms_iou": config.box_head.nms_iou,
        "rpn.anchors.sizes": [list(sizes) for sizes in config.rpn.anchors.sizes],
        "rpn.pre_nms_test": config.rpn.pre_nms_test,
        "rpn.post_nms_test": config.rpn.post_nms_test,
    }


def test_config_by_attribute_and_by_recipe():
    class Shapes(SmallConfig):
        PAPER = "mask_rcnn_r50_fpn"
        DETECTION_MAX_INSTANCES = 7

    by_attribute = native_config.model_config(Shapes())
    by_recipe = mrcnn.recipes.get("mask_rcnn_r50_fpn").override({"model.box_head.max_detections": 7})
    assert by_attribute.box_head.max_detections == by_recipe.model.box_head.max_detections == 7
    assert by_attribute.backbone == by_recipe.model.backbone


def test_paper_may_be_a_file(tmp_path):
    class Shapes(SmallConfig):
        PAPER = str(tmp_path / "recipe.yaml")

    mrcnn.recipes.get("mask_rcnn_r50_fpn_gn").save(Shapes.PAPER)
    made = native_config.model_config(Shapes())
    assert made.backbone.norm == "gn" and made.num_classes == 2


def test_a_data_set_in_both_ways():
    class Native(mrcnn.Dataset):
        def __init__(self, count):
            super().__init__()
            self.add_class("spots", 1, "square")
            self.add_class("spots", 2, "disc")
            for seed in range(count):
                self.add_image("spots", image_id=f"spot{seed}", path=None, seed=seed)

        load_image, load_mask = SmallDataset.load_image, SmallDataset.load_mask

    old, new = small_dataset(), Native(2)
    new.prepare()
    assert old.class_names[0] == "BG" and tuple(old.class_names[1:]) == new.class_names
    for i in range(2):
        np.testing.assert_array_equal(old.load_image(i), new.load_image(i))
        masks, class_ids = old.load_mask(i)
        detections = new.instances(i)
        kept = masks.any((0, 1))
        np.testing.assert_array_equal(detections.masks, np.moveaxis(masks[..., kept], -1, 0).astype(bool))
        assert detections.class_ids.tolist() == class_ids[kept].tolist()


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


def test_via_by_hand_and_by_reader(tmp_path):
    script_data._via(tmp_path)
    data = mrcnn.load_via(tmp_path / "train/via_region_data.json")
    assert data.class_names == tuple(sorted(set(data.class_names))) and len(data) == 4
    for index, seed in enumerate(range(3)):
        _, labels, outlines = script_data.draw(seed)
        masks, class_ids = data.load_mask(index)
        for i, (class_id, _) in enumerate(outlines):
            assert data.class_names[class_ids[i] - 1] == script_data.NAMES[class_id - 1]
            drawn = (labels == i + 1).astype(np.uint8)
            pixel = np.ones((3, 3), np.uint8)
            inside, near = cv2.erode(drawn, pixel).astype(bool), cv2.dilate(drawn, pixel).astype(bool)
            # cv2.fillPoly, which the scripts use, puts corners in the middle of pixels and fills those of the outline.
            assert masks[:, :, i][inside].all() and not masks[:, :, i][~near].any()


def test_coco_by_hand_and_by_reader(tmp_path):
    script_data._coco(tmp_path)
    data = mrcnn.load_coco(tmp_path / "annotations.json", tmp_path / "images")
    content = json.loads((tmp_path / "annotations.json").read_text())
    assert data.category_ids == (10, 20, 30) and data.image_ids == tuple(entry["id"] for entry in content["images"])
    for index in range(4):
        masks, class_ids = data.load_mask(index)
        own = [a for a in content["annotations"] if a["image_id"] == data.image_ids[index]]
        assert [data.category_ids[k - 1] for k in class_ids] == [a["category_id"] for a in own]
        labels = script_data.draw(index)[1]
        assert all(overlap(masks[:, :, i], labels == i + 1) > 0.85 for i in range(len(own)))


@pytest.mark.slow
def test_weights_of_matterports_layout(model, weights, image):
    native = mrcnn.load_pretrained(weights, **same_config(model))
    detections, result = mrcnn.detect(native, image, score_threshold=None)[0], model.detect([image])[0]
    assert len(detections) == len(result["scores"]) > 0
    np.testing.assert_allclose(detections.scores, result["scores"], atol=1e-5)


@pytest.mark.slow
def test_other_classes(weights, tmp_path):
    class Other(SmallConfig):
        NUM_CLASSES = 6

    old = modellib.MaskRCNN(mode="inference", config=Other(), model_dir=str(tmp_path))
    with pytest.raises(ValueError, match="exclude"):
        old.load_weights(str(weights), by_name=True)
    old.load_weights(str(weights), by_name=True, exclude=HEADS)
    new = mrcnn.load_pretrained(weights, num_classes=5)
    for component in ("backbone", "neck", "rpn"):
        for a, b in zip(getattr(old.keras_model, component).weights, getattr(new, component).weights, strict=True):
            np.testing.assert_array_equal(a, b)
    assert new.box_head.class_logits.kernel.shape == old.keras_model.box_head.class_logits.kernel.shape


@pytest.mark.slow
def test_files_of_a_model(model, image, tmp_path):
    mrcnn.save_checkpoint(model.keras_model, tmp_path / "model.safetensors")
    for path in (tmp_path / "model.safetensors", tmp_path):  # the file, or the folder of a run
        native = mrcnn.load_model(path)
        for a, b in zip(native.weights, model.keras_model.weights, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_detections(model, image):
    detections, result = mrcnn.detect(model.keras_model, image, score_threshold=None)[0], model.detect([image])[0]
    np.testing.assert_array_equal(np.around(detections.boxes).astype(np.int32), result["rois"])
    np.testing.assert_array_equal(detections.class_ids, result["class_ids"])
    np.testing.assert_array_equal(np.moveaxis(detections.masks, 0, -1), result["masks"])


def test_stages_of_training():
    recipe = Recipe().override({"train.train_layers": "heads", "train.unfreeze": [[0.25, "all"]]})
    assert recipe.train.train_layers == "heads" and recipe.train.unfreeze == ((0.25, "all"),)


def test_images_and_ground_truth():
    data = small_dataset()
    config = SmallConfig()
    config.IMAGE_RESIZE_MODE = "none"
    image, _, class_ids, boxes, masks = modellib.load_image_gt(data, config, 1)

    class Native(mrcnn.Dataset):
        def load_image(self, index):
            return data.load_image(index + 1)

        def load_mask(self, index):
            return data.load_mask(index + 1)

    native = Native()
    for number, name in enumerate(data.class_names[1:], start=1):
        native.add_class("spots", number, name)
    native.add_image("spots", 1, None)
    ground_truth = native.instances(0)
    np.testing.assert_array_equal(native.load_image(0), image)
    np.testing.assert_array_equal(ground_truth.boxes, boxes)
    np.testing.assert_array_equal(np.moveaxis(ground_truth.masks, 0, -1), masks.astype(bool))
    assert ground_truth.class_ids.tolist() == class_ids.tolist()


@pytest.mark.slow
def test_drawings(model, image):
    detections = mrcnn.detect(model.keras_model, image, score_threshold=None)[0]
    names = model.keras_model.class_names
    plain = mrcnn.draw(image, detections, class_names=names, as_array=True)
    both = mrcnn.draw(image, detections, class_names=names, ground_truth=detections, as_array=True)
    assert plain.shape[2] == 3 and both.shape[1] > 2 * plain.shape[1]
    assert len(mrcnn.draw(image, detections, ground_truth=detections).axes) == 2


def test_average_precision():
    """Of two objects one is found first, then something else: AP at 0.5 is 1/2 in both ways."""
    ground_truth = small_dataset()
    masks, class_ids = ground_truth.load_mask(0)
    masks, class_ids = masks[..., :2].astype(bool), np.ones(2, np.int32)
    boxes = utils.extract_bboxes(masks)
    found_masks = np.stack([masks[..., 0], np.zeros((48, 64), bool)], -1)
    found_masks[:4, :4, 1] = True
    detections, scores = utils.extract_bboxes(found_masks), np.array([0.9, 0.8], np.float32)
    old = utils.compute_ap(boxes, class_ids, masks, detections, class_ids, scores, found_masks)[0]
    metric = CocoMetric(["thing"])
    metric.update(
        0,
        Instances(boxes, class_ids, (48, 64), masks=np.moveaxis(masks, -1, 0)),
        Instances(detections, class_ids, (48, 64), scores, np.moveaxis(found_masks, -1, 0)),
    )
    assert old == pytest.approx(0.5)
    assert metric.compute()["mask/AP50"] == pytest.approx(51 / 101)  # 51 of COCO's 101 levels of recall
