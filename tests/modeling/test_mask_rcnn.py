"""The whole model: one batch in, losses or detections out; Keras' fit, evaluate, predict, save and load."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from mrcnn import recipes
from mrcnn.base_config import ConfigError
from mrcnn.errors import InputError
from mrcnn.modeling import mask_rcnn
from mrcnn.modeling.backbones.efficientnet_lite import EfficientNetLiteConfig
from mrcnn.modeling.backbones.resnet import ResNetConfig
from mrcnn.modeling.heads.mask import MaskHead, MaskHeadConfig
from mrcnn.modeling.input import InputConfig
from mrcnn.modeling.losses.smooth_l1 import SmoothL1
from mrcnn.modeling.mask_rcnn import MaskRCNN, MaskRCNNConfig
from mrcnn.modeling.roi_sampler import RoiSamplerConfig
from mrcnn.modeling.variables import named_variables
from mrcnn.structures.tensors import batch_spec
from mrcnn.training.freezing import set_trainable
from mrcnn.weights import load_model, save_checkpoint
from tests.ground_truth import MASK_SIDE, batch_of
from tests.tiny_model import blank_image, noise_images, tiny_model

LOSSES = ("rpn_objectness", "rpn_box", "roi_class", "roi_box", "roi_mask")
CANVAS = (96, 128)
OBJECTS = [
    [{"box": (8, 8, 40, 40)}, {"box": (30, 60, 70, 110), "class_id": 2}],
    [{"box": (20, 10, 60, 50), "class_id": 2}, {"box": (0, 60, 80, 90), "crowd": True}],
    [],
]


def images_of(sizes=((96, 128), (80, 100), (64, 128))):
    return [noise_images(1, seed=i, sides=(200, 201))[0][:h, :w] for i, (h, w) in enumerate(sizes)]


def batch(num=2, with_ground_truth=True):
    return batch_of(images_of()[:num], OBJECTS[:num], CANVAS, with_ground_truth=with_ground_truth)


def row(batch, i):
    return {key: value[i : i + 1] for key, value in batch.items()}


def data_of(*batches):
    """A tf.data.Dataset of ready batches, which may differ in size."""
    spec = batch_spec(None, *CANVAS, 4, MASK_SIDE, with_ground_truth="gt_boxes" in batches[0])
    return tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=spec)


def quick_model():
    """The tiny model with few RoIs and a frozen backbone: most of the time goes into tracing and its gradient."""
    tiny = tiny_model()
    config = dataclasses.replace(
        tiny.config,
        rpn=dataclasses.replace(tiny.config.rpn, pre_nms_train=60, post_nms_train=60),
        roi_sampler=RoiSamplerConfig(num_rois=32),
        heads=(dataclasses.replace(tiny.config.heads[0], num_foreground=8),),
    )
    model = MaskRCNN(config, tiny.class_names, tiny.category_ids)
    model.set_weights(tiny.get_weights())
    model.backbone.trainable = False
    return model


def expect_equal(result, expected, atol=0.0):
    assert set(result) == set(expected)
    for name in expected:
        np.testing.assert_allclose(np.asarray(result[name]), np.asarray(expected[name]), atol=atol, err_msg=name)


@pytest.fixture(scope="module")
def shared():
    """For tests that do not change its weights."""
    return quick_model()


@pytest.fixture(scope="module")
def compiled():
    model = quick_model()
    model.compile(keras.optimizers.SGD(1e-3, momentum=0.9))
    return model, model.get_weights()


@pytest.fixture
def trainer(compiled):
    """A compiled model with its first weights and no momentum; traced once for all tests."""
    model, weights = compiled
    model.set_weights(weights)
    for variable in model.optimizer.variables:
        if "learning_rate" not in variable.path:
            variable.assign(tf.zeros_like(variable))
    return model


@pytest.fixture(scope="module")
def detections(shared):
    return {k: v.numpy() for k, v in shared(batch(with_ground_truth=False)).items()}


# Interface


def test_ground_truth_decides_between_losses_and_detections(shared, detections):
    losses = shared(batch())
    assert tuple(losses) == LOSSES
    assert all(value.shape == () and value.dtype == tf.float32 and np.isfinite(value) for value in losses.values())
    assert all(losses[name] > 0 for name in LOSSES)
    shapes = {name: value.shape[1:] for name, value in detections.items()}
    assert shapes == {"boxes": (20, 4), "class_ids": (20,), "scores": (20,), "valid": (20,), "masks": (20, 28, 28)}


def test_detections_keep_their_promises(detections):
    valid = detections["valid"]
    assert valid.any(axis=1).all()
    for i, (height, width) in enumerate([(96, 128), (80, 100)]):
        boxes = detections["boxes"][i][valid[i]]
        assert (boxes >= 0).all()
        assert (boxes[:, 2:] <= [height, width]).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert (np.diff(detections["scores"][i][valid[i]]) <= 0).all()
    assert (detections["scores"][valid] > 0.05).all()
    assert set(detections["class_ids"][valid]) <= {1, 2}
    assert ((detections["masks"][valid] > 0) & (detections["masks"][valid] < 1)).all()
    assert all(not value[~valid].any() for value in detections.values())


@pytest.mark.parametrize("names", [[], ["a"], ["a", "b", "c"]])
def test_class_names_must_fit_num_classes(names):
    config = dataclasses.replace(recipes.get("mask_rcnn_efficientnet_lite0_fpn").model, num_classes=2)
    with pytest.raises(ValueError, match=rf"class_names: expected 2 entries, one per class, got {len(names)}"):
        MaskRCNN(config, names)
    with pytest.raises(ValueError, match=rf"category_ids: expected 2 entries, one per class, got {len(names)}"):
        MaskRCNN(config, ["a", "b"], list(range(len(names))))


def test_no_class_is_refused():
    with pytest.raises(ConfigError, match="num_classes: expected at least 1, got 0"):
        MaskRCNNConfig(num_classes=0)


def test_head_names():
    assert MaskHeadConfig().layer_name == "mask_head"
    assert MaskHeadConfig(name="fine").layer_name == "fine_mask_head"


# Independence of batch and shape


def test_batch_of_two_is_two_batches_of_one(shared, detections):
    both = batch()
    with_ground_truth = shared(both)
    alone = [shared(row(both, i)) for i in range(2)]
    # These are averages over the images, each of which has a full sample
    for name in ("rpn_objectness", "rpn_box", "roi_class", "roi_box"):
        assert float(with_ground_truth[name]) == pytest.approx(sum(float(a[name]) for a in alone) / 2, rel=1e-4), name
    without = batch(with_ground_truth=False)
    for i in range(2):
        result = shared(row(without, i))
        expect_equal(result, {name: value[i : i + 1] for name, value in detections.items()}, atol=1e-4)


@pytest.mark.parametrize("num", [1, 3])
def test_heads_give_the_same_with_and_without_padded_entries(shared, monkeypatch, num):
    """Images with different numbers of objects, one of them with none."""
    images = [*images_of()[: num - 1], blank_image(96, 128)] if num > 1 else images_of()[:1]
    given = batch_of(images, [[]] * num, CANVAS, with_ground_truth=False)
    eighth = float(np.max(shared(given, training=False)["scores"][:, 7]))
    monkeypatch.setattr(shared.box_head, "config", dataclasses.replace(shared.config.box_head, score_threshold=eighth))
    seen = []
    whole = MaskHead.call
    monkeypatch.setattr(MaskHead, "call", lambda *args, **kw: seen.append(args[2].shape[1]) or whole(*args, **kw))
    result = shared(given, training=False)
    monkeypatch.setattr(mask_rcnn, "trim_padding", lambda entries: entries)
    padded = shared(given, training=False)
    valid = np.asarray(result["valid"])
    assert seen == [valid.sum(1).max(), shared.config.box_head.max_detections] and 0 < seen[0] <= 7
    assert num == 1 or not valid[-1].any()
    assert result.keys() == padded.keys()
    assert np.array_equal(valid, padded["valid"])
    for name, value in result.items():
        assert value.shape == padded[name].shape
        np.testing.assert_allclose(np.asarray(value)[valid], np.asarray(padded[name])[valid], atol=1e-5, rtol=1e-5)


def test_more_padding_hardly_matters_and_its_content_not_at_all(shared, detections):
    soiled = batch(with_ground_truth=False)
    image = soiled["image"].numpy()
    image[1, 80:], image[1, :, 100:] = 255, 7
    expect_equal(shared({**soiled, "image": tf.constant(image)}), detections)


def test_open_shapes_are_static_shapes(shared, detections):
    for with_ground_truth, expected in ((False, detections), (True, shared(batch()))):
        run = tf.function(lambda x: shared(x), input_signature=[batch_spec(with_ground_truth=with_ground_truth)])
        expect_equal(run(batch(with_ground_truth=with_ground_truth)), expected, atol=1e-4)


def test_seed_decides_the_losses(shared):
    first, again = shared(batch()), shared(batch())
    expect_equal(again, first)
    other = batch()
    other["seed"] += 11
    assert any(float(shared(other)[name]) != float(first[name]) for name in LOSSES)


def test_padded_ground_truth_does_not_matter(shared):
    few = batch()
    more = dict(few)
    for key in (k for k in few if k.startswith("gt_")):
        pad = [[0, 0], [0, 3]] + [[0, 0]] * (few[key].shape.rank - 2)
        more[key] = tf.pad(few[key], pad, constant_values=np.array(1).astype(few[key].dtype.as_numpy_dtype))
    more["gt_valid"] = tf.pad(few["gt_valid"], [[0, 0], [0, 3]])
    result, expected = shared(more), shared(few)
    # The RPN's draw is among anchors; more true boxes only lengthen the list RoIs are drawn from
    for name in ("rpn_objectness", "rpn_box"):
        assert float(result[name]) == float(expected[name])
    assert all(np.isfinite(value) for value in result.values())


def test_half_precision_keeps_boxes_and_losses_in_float32(shared):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = quick_model()
    finally:
        keras.config.set_dtype_policy(before)
    expected, result = shared(batch()), half(batch())
    for name in LOSSES:
        assert result[name].dtype == tf.float32
        assert np.isfinite(result[name])
    for name in ("rpn_objectness", "rpn_box"):  # the other terms depend on which proposals win by a hair
        assert float(result[name]) == pytest.approx(float(expected[name]), rel=0.1), name
    result = half(batch(with_ground_truth=False))
    dtypes = {name: value.dtype for name, value in result.items()}
    assert dtypes == {"boxes": tf.float32, "class_ids": tf.int32, "scores": tf.float32, "valid": tf.bool,
                      "masks": tf.float32}  # fmt: skip


# Save and load


def test_keras_file_round_trip(tmp_path, trainer, detections):
    path = tmp_path / "model.keras"
    trainer.save(path)
    again = keras.models.load_model(path)
    assert (again.config, again.class_names, again.category_ids) == (trainer.config, ("thing", "other"), (3, 8))
    expect_equal(again(batch(with_ground_truth=False)), detections, atol=1e-6)
    # Compiled as it was
    assert again.optimizer.momentum == 0.9
    losses = again(batch())
    total = again.compute_loss(x=batch(), y_pred=losses)
    assert float(total) == pytest.approx(sum(float(value) for value in losses.values()), rel=1e-5)


def test_a_keras_file_keeps_what_does_not_train(tmp_path):
    def training(model: MaskRCNN) -> set[str]:
        chosen = {id(v) for v in model.trainable_variables}
        return {path for path, v in named_variables(model).items() if id(v) in chosen}

    model = tiny_model()
    everything = training(model)
    set_trainable(model, lambda path: path.startswith("rpn/") or path.endswith("logits/bias"))
    model.backbone.get_layer("stem_conv1").trainable = False
    model.get_layer("fpn").trainable = False
    model.compile(keras.optimizers.SGD(1e-3, momentum=0.9))
    model.optimizer.build(model.trainable_variables)
    for variable in model.optimizer.variables:
        variable.assign(tf.ones_like(variable))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert 0 < len(training(model)) < len(everything)
    assert training(again) == training(model)
    assert [v.shape for v in again.optimizer.variables] == [v.shape for v in model.optimizer.variables]
    assert all((v.numpy() == 1).all() for v in again.optimizer.variables)
    set_trainable(again, "all")
    assert training(again) - training(tiny_model()) == set()
    assert {path for path in everything if not path.startswith("fpn/")} <= training(again)


def test_checkpoint_round_trip(tmp_path, shared, detections):
    again = load_model(save_checkpoint(shared, tmp_path / "model.safetensors"))
    assert (again.config, again.class_names, again.category_ids) == (shared.config, ("thing", "other"), (3, 8))
    expect_equal(again(batch(with_ground_truth=False)), detections, atol=1e-6)


def test_config_is_plain_data(shared):
    again = MaskRCNNConfig.from_dict(shared.get_config()["config"])
    assert again == shared.config


# Fit, evaluate, predict


def test_evaluate_logs_every_term_once_and_touches_no_weight(trainer):
    before = [w.tobytes() for w in trainer.get_weights()]
    three = batch(3)
    parts = [{k: v[:2] for k, v in three.items()}, row(three, 2)]
    result = trainer.evaluate(data_of(*parts), verbose=0, return_dict=True)
    assert [w.tobytes() for w in trainer.get_weights()] == before
    assert set(result) == {"loss", *LOSSES}
    assert sorted(m.name for m in trainer.metrics) == sorted(("loss", *LOSSES))
    # Averaged by images, so that the terms add up although the last batch is smaller
    assert result["loss"] == pytest.approx(sum(result[name] for name in LOSSES), rel=1e-5)
    two, one = trainer(parts[0]), trainer(parts[1])
    for name in LOSSES:
        assert result[name] == pytest.approx((2 * float(two[name]) + float(one[name])) / 3, rel=1e-3), name


def test_fit_changes_what_is_trainable_and_nothing_else(trainer):
    before = {w.path: w.numpy() for w in trainer.weights}
    history = trainer.fit(data_of(batch()).repeat(2), verbose=0).history
    assert history["loss"][0] == pytest.approx(sum(history[name][0] for name in LOSSES), rel=1e-5)
    trainable = {w.path for w in trainer.trainable_variables}
    changed = {w.path for w in trainer.weights if not np.array_equal(before[w.path], w.numpy())}
    assert changed == trainable
    assert not any(path.startswith("backbone") for path in trainable)


def test_regularisers_join_the_total_but_not_the_terms(trainer):
    kernel = trainer.box_head.class_logits.kernel
    kernel.regularizer = keras.regularizers.L2(0.5)
    try:
        losses = trainer(batch())
        total = trainer.compute_loss(x=batch(), y_pred=losses)
    finally:
        kernel.regularizer = None
    penalty = 0.5 * float(tf.reduce_sum(kernel**2))
    assert float(total) == pytest.approx(sum(float(value) for value in losses.values()) + penalty, rel=1e-4)


def test_loss_without_ground_truth_says_what_is_missing(trainer, detections):
    with pytest.raises(ValueError, match="no ground truth; make the pipeline with with_ground_truth=True"):
        trainer.compute_loss(x=batch(with_ground_truth=False), y_pred=detections)


def test_predict_drops_ground_truth(shared, detections):
    expect_equal(shared.predict(data_of(batch()), verbose=0), detections, atol=1e-4)


@pytest.mark.parametrize(
    "objects",
    [
        pytest.param([[], []], id="no object"),
        pytest.param(
            [[{"box": (40, 60, 41, 61)}, {"box": (0, 0, 1, 1), "class_id": 2}], [{"box": (79, 99, 80, 100)}]],
            id="one pixel",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            [[{"box": (10, 10, 60, 60), "mask": np.zeros((MASK_SIDE, MASK_SIDE), np.uint8)}], []],
            id="empty mask",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            [[{"box": (0, 0, 96, 128), "crowd": True}], [{"box": (30, 30, 30, 50)}]], id="crowd only and empty box"
        ),
    ],
)
def test_fifty_steps_on_strange_ground_truth_stay_finite(trainer, objects):
    data = data_of(batch_of(images_of()[:2], objects, CANVAS)).cache().repeat()
    history = trainer.fit(data, epochs=5, steps_per_epoch=10, verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())
    assert all(np.isfinite(w).all() for w in trainer.get_weights())
    if objects == [[], []]:
        assert not any(history["rpn_box"] + history["roi_box"] + history["roi_mask"])
        assert history["loss"][-1] < history["loss"][0]


# Recipes


def test_recipe_is_the_papers():
    """Ref: Mask R-CNN, section 3.1; Feature Pyramid Networks, sections 4 and 5.1; Faster R-CNN, section 3."""
    recipe = recipes.get("mask_rcnn_r50_fpn")
    model, rpn, sampler, box, (mask,) = (
        recipe.model,
        recipe.model.rpn,
        recipe.model.roi_sampler,
        recipe.model.box_head,
        recipe.model.heads,
    )
    assert isinstance(model.backbone, ResNetConfig)
    assert (model.backbone.depth, model.backbone.norm, model.backbone.freeze_at) == (50, "frozen_bn", 2)
    assert (model.num_classes, model.neck.channels, model.neck.norm) == (80, 256, "none")
    assert rpn.anchors.sizes == ((32,), (64,), (128,), (256,), (512,))
    assert rpn.anchors.ratios == (0.5, 1, 2)
    assert rpn.levels == ("p2", "p3", "p4", "p5", "p6")
    assert (rpn.channels, rpn.fg_iou, rpn.bg_iou, rpn.nms_iou, rpn.min_size) == (256, 0.7, 0.3, 0.7, 0)
    assert (rpn.batch_per_image, rpn.positive_fraction, rpn.smooth_l1_beta) == (256, 0.5, pytest.approx(1 / 9))
    assert (rpn.post_nms_train, rpn.post_nms_test) == (2000, 1000)
    assert (rpn.pre_nms_train, rpn.pre_nms_test) == (2000, 1000)
    assert (sampler.num_rois, sampler.positive_fraction, sampler.fg_iou) == (512, 0.25, 0.5)
    assert (sampler.append_gt, sampler.num_foreground) == (True, 128)
    assert (box.pool.size, box.fc_dims, box.conv_dims, box.class_agnostic) == (7, (1024, 1024), (), False)
    assert (box.delta_weights, box.box_loss) == ((10, 10, 5, 5), SmoothL1(1.0))
    assert (box.score_threshold, box.nms_iou, box.max_detections) == (0.05, 0.5, 100)
    assert (mask.pool.size, mask.num_foreground) == (14, 128)
    assert (mask.conv_dims, mask.conv_norm, mask.deconv_dim, mask.class_agnostic) == ((256,) * 4, "none", 256, False)
    for head in (box, mask):
        assert head.pool.levels == ("p2", "p3", "p4", "p5")
        assert (head.pool.sampling_ratio, head.pool.aligned) == (2, False)
        assert (head.pool.canonical_size, head.pool.canonical_level) == (224, 4)
    assert {rpn.loss_weight, box.loss_weight, mask.loss_weight} == {1.0}
    assert (model.input.short_side, model.input.long_side, model.input.divisor) == (800, 1333, 32)
    data, train = recipe.data, recipe.train
    assert (data.short_sides, data.flip_horizontal) == ((), 0.5)
    for name in ("flip_vertical", "rotate90", "brightness", "contrast", "saturation", "hue"):
        assert getattr(data, name) == 0.0
    assert (data.crop, data.scale_jitter, data.max_instances, data.mask_side) == (None, None, 100, 112)
    # 90,000 steps of 16 images, the rate divided by 10 after 60,000 and 80,000
    assert (train.images, recipes.REFERENCE_BATCH, train.images // recipes.REFERENCE_BATCH) == (1_440_000, 16, 90_000)
    assert (train.schedule, [90_000 * m for m in train.milestones]) == ("step", pytest.approx([60_000, 80_000]))
    assert (train.optimizer, train.learning_rate, train.momentum, train.weight_decay) == ("sgd", 0.02, 0.9, 1e-4)
    assert (train.batch_size, train.warmup_images, train.clip_norm) == (2, 8_000, None)
    assert train.train_layers == "all_but_frozen"


def test_deeper_recipe_differs_in_depth_only():
    r50, r101 = recipes.get("mask_rcnn_r50_fpn"), recipes.get("mask_rcnn_r101_fpn")
    assert dataclasses.replace(r50, model=dataclasses.replace(r50.model, backbone=ResNetConfig(depth=101))) == r101


def test_recipe_builds_its_model_for_other_classes():
    recipe = recipes.get("mask_rcnn_efficientnet_lite0_fpn")
    assert isinstance(recipe.model.backbone, EfficientNetLiteConfig)
    model = recipe.build_model(["a", "b", "c"], [4, 5, 9])
    assert (model.config.num_classes, model.class_names, model.category_ids) == (3, ("a", "b", "c"), (4, 5, 9))
    assert model.config == dataclasses.replace(recipe.model, num_classes=3)


def test_true_boxes_name_their_last_pixel_where_the_models_do(monkeypatch):
    config = dataclasses.replace(tiny_model().config, input=InputConfig(short_side=96, long_side=160, end_offset=-1.0))
    model = MaskRCNN(config)
    seen = []
    monkeypatch.setattr(
        type(model.rpn), "loss", lambda self, output, batch, *rest: seen.append(batch["gt_boxes"]) or {}
    )
    ground_truth = batch()
    model(ground_truth)
    used = seen[0].shape[1]
    np.testing.assert_array_equal(seen[0], ground_truth["gt_boxes"].numpy()[:, :used] - [0, 0, 1, 1])


def test_images_given_to_keras_own_methods_are_one_sentence():
    model = tiny_model()
    pixels = np.zeros((1, 64, 64, 3), np.uint8)
    for images in (pixels, tf.constant(pixels), [pixels], "photo.jpg"):
        with pytest.raises(InputError, match=r"call mrcnn\.detect\(model, images\)"):
            model.predict(images)
    with pytest.raises(InputError, match=r"call mrcnn\.detect\(model, images\)"):
        model(pixels)
    with pytest.raises(InputError, match=r"call mrcnn\.export_saved_model\(model, path\)"):
        model.export("served")
