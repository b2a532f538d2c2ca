"""What every RoI head has in common, shown by a model with two mask heads and a head of another module."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from mrcnn.base_config import ConfigError
from mrcnn.drawing.image import draw_array
from mrcnn.evaluation.coco_results import to_coco_results
from mrcnn.inference import detect, detect_augmented, detect_tiled
from mrcnn.modeling.heads.base import HeadLoss, RoiHeadConfig
from mrcnn.modeling.heads.box import BoxHeadConfig
from mrcnn.modeling.heads.cascade import CascadeBoxHeadConfig
from mrcnn.modeling.heads.keypoint import KeypointHeadConfig
from mrcnn.modeling.heads.mask import MaskHeadConfig
from mrcnn.modeling.mask_rcnn import MaskRCNN, MaskRCNNConfig
from mrcnn.modeling.roi_pooling import RoiPoolConfig
from mrcnn.modeling.variables import named_variables
from mrcnn.structures.tensors import Detections
from mrcnn.weights.checkpoint import load_model, save_checkpoint
from tests.modeling.heads import ProbeHeadConfig
from tests.tiny_model import noise_images, tiny_model

FINE = MaskHeadConfig(name="fine", pool=RoiPoolConfig(size=4), conv_dims=(8,), deconv_dim=8, paste="padded_integer")
PROBE = ProbeHeadConfig(pool=RoiPoolConfig(size=2))
NAMES = ["boxes", "class_ids", "scores", "valid", "masks", "fine_masks", "quality", "kind", "heat", "middle", "secret"]

KERNELS = {"mask_head/mask_logits/kernel", "fine_mask_head/mask_logits/kernel", "probe_head/dense/kernel"}


@pytest.fixture(scope="module")
def model() -> MaskRCNN:
    small = tiny_model()
    config = dataclasses.replace(small.config, heads=(*small.config.heads, FINE, PROBE))
    keras.utils.set_random_seed(1)
    larger = MaskRCNN(config, small.class_names, small.category_ids)
    own = named_variables(larger)
    for path, variable in named_variables(small).items():
        own[path].assign(variable)
    return larger


def batch(side: int = 64) -> dict[str, tf.Tensor]:
    rng = np.random.default_rng(0)
    return {
        "image": tf.constant(rng.integers(0, 256, (2, side, side, 3)), tf.uint8),
        "image_id": tf.constant([0, 1], tf.int64),
        "original_shape": tf.fill([2, 2], side),
        "content_shape": tf.fill([2, 2], side),
        "gt_boxes": tf.constant([[[4.0, 4, 40, 40]], [[8, 8, 60, 60]]]),
        "gt_class_ids": tf.constant([[1], [2]]),
        "gt_masks": tf.ones([2, 1, 8, 8], tf.uint8),
        "gt_crowd": tf.zeros([2, 1], tf.bool),
        "gt_valid": tf.ones([2, 1], tf.bool),
        "seed": tf.constant([[1, 2], [3, 4]]),
    }


def test_names_of_two_heads_of_one_class_do_not_collide(model: MaskRCNN) -> None:
    assert [head.name for head in model.heads] == ["mask_head", "fine_mask_head", "probe_head"]
    assert model.loss_names[-3:] == ("roi_mask", "fine_roi_mask", "probe")
    assert [output.name for output in model.config.outputs] == NAMES[4:]
    assert model.config.outputs[1].result_key == "fine_segmentation"
    assert set(named_variables(model)) >= KERNELS


def test_a_step_trains_every_head(model: MaskRCNN) -> None:
    keras.utils.set_random_seed(0)
    fresh = MaskRCNN(model.config)
    before = {path: variable.numpy() for path, variable in named_variables(fresh).items()}
    fresh.compile(keras.optimizers.SGD(0.01))
    logs = fresh.train_on_batch(batch(), return_dict=True)
    assert set(logs) == {"loss", *fresh.loss_names} and all(np.isfinite(list(logs.values())))
    moved = {path for path, variable in named_variables(fresh).items() if (variable.numpy() != before[path]).any()}
    assert moved >= KERNELS


def test_call_gets_the_seed_and_the_targets_in_training_and_the_classes_always(model: MaskRCNN) -> None:
    probe = model.heads[2]
    probe.calls.clear()
    model(batch(), training=True)
    (call,) = probe.calls
    assert call["training"] is True and call["targets"]["area"].shape == call["class_ids"].shape
    # The RPN takes the seed, the sampler the next stream, the box head and the heads those after.
    assert call["seed"].numpy().tolist() == [[1, 2 + 5], [3, 4 + 5]]
    probe.calls.clear()
    result = model({k: v for k, v in batch().items() if not k.startswith("gt_")}, training=False)
    (call,) = probe.calls
    assert call["seed"] is call["targets"] is None
    assert list(result) == NAMES
    used = call["class_ids"].shape[1]
    np.testing.assert_array_equal(call["class_ids"], result["class_ids"][:, :used])


def test_outputs_arrive_in_instances_and_on_paper(model: MaskRCNN) -> None:
    (pixels,) = noise_images(1, seed=8)
    (result,) = detect(model, pixels)
    assert len(result) > 2 and list(result.extra) == NAMES[5:]
    assert result.extra["fine_masks"].convention == "padded_integer"
    assert result.extra["fine_masks"].shape == result.masks.shape == (len(result), *pixels.shape[:2])
    assert result.extra["kind"].dtype == np.int32 and result.extra["kind"].tolist() == (7 * result.class_ids).tolist()
    centers = (result.boxes[:, :2] + result.boxes[:, 2:])[:, ::-1] / 2
    inner = ((result.boxes[:, :2] > 0) & (result.boxes[:, 2:] < result.image_shape)).all(1)
    np.testing.assert_allclose(result.extra["middle"][inner, 0, :2], centers[inner], atol=1e-2)
    few = result[1:3]
    results = to_coco_results(5, few)
    assert [set(r) - {"image_id", "category_id", "bbox", "score"} for r in results] == [
        {"segmentation", "fine_segmentation", "quality", "middle"}
    ] * 2
    assert results[1]["quality"] == pytest.approx(few.extra["quality"][1], abs=1e-6)
    assert results[0]["fine_segmentation"]["size"] == list(result.image_shape)
    plain = dataclasses.replace(few, extra={}, outputs=())
    options = {"scores": False, "boxes": False}
    for what in ("masks", "labels", "keypoints"):
        shown = dict.fromkeys(("masks", "labels", "keypoints"), False) | {what: True}
        drawn = [draw_array(pixels, one, **options, **shown) for one in (few, plain)]
        assert (drawn[0] != drawn[1]).any(), what


def test_a_model_is_saved_and_loaded_with_all_its_heads(model: MaskRCNN, tmp_path) -> None:
    (pixels,) = noise_images(1, seed=8)
    save_checkpoint(model, tmp_path / "m.safetensors")
    again = load_model(tmp_path / "m.safetensors")
    assert again.config == model.config
    assert detect(again, pixels)[0] == detect(model, pixels)[0]


@pytest.mark.slow
def test_tiles_and_views_keep_the_outputs(model: MaskRCNN) -> None:
    (pixels,) = noise_images(1, seed=8, sides=(150, 200))
    (plain,) = detect(model, pixels)
    tiled = detect_tiled(model, pixels, tile=1000)
    assert tiled.outputs == plain.outputs and len(tiled) == len(plain)
    np.testing.assert_allclose(np.sort(tiled.extra["quality"]), np.sort(plain.extra["quality"]), atol=1e-6)
    cut = detect_tiled(model, pixels, tile=100, overlap=40)
    assert len(cut) and cut.extra["fine_masks"].shape == (len(cut), *pixels.shape[:2])
    views = detect_augmented(model, pixels, [96])
    assert views.outputs == plain.outputs and views.extra["kind"].tolist() == (7 * views.class_ids).tolist()
    centers = (views.boxes[:, 1] + views.boxes[:, 3]) / 2
    np.testing.assert_allclose(views.extra["middle"][:, 0, 0], centers, atol=0.1)  # also of the mirrored view
    ramp = np.arange(9.0).reshape(3, 3)
    np.testing.assert_allclose(views.extra["heat"][0], (ramp + ramp[:, ::-1]) / 2, atol=1e-5)


@pytest.mark.parametrize(
    "heads, message",
    [
        ((MaskHeadConfig(), MaskHeadConfig()), "two of them have the layer 'mask_head'"),
        ((MaskHeadConfig(name="a"), MaskHeadConfig(name="a")), "'a_mask_head'"),
        ((BoxHeadConfig(),), "a box head belongs into box_head"),
    ],
)
def test_heads_that_collide_are_refused(heads, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MaskRCNNConfig(heads=heads)


def test_names_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"MaskHeadConfig\.name: expected letters"):
        MaskHeadConfig(name="a/b")
    assert BoxHeadConfig().layer_name == CascadeBoxHeadConfig().layer_name == "box_head"
    assert BoxHeadConfig(name="a").layer_name == "a_box_head"

    @dataclasses.dataclass(frozen=True)
    class Greedy(RoiHeadConfig):
        abstract = True

        @property
        def losses(self):
            return (HeadLoss(taken),)

    for taken in ("rpn_box", "loss"):
        with pytest.raises(ConfigError, match=f"the loss '{taken}'"):
            MaskRCNNConfig(heads=(Greedy(),))


def test_a_head_returns_what_it_declares(model: MaskRCNN) -> None:
    probe = model.heads[2]
    boxes = tf.zeros([1, 2, 4])
    detections = Detections(boxes, tf.ones([1, 2], tf.int32), tf.ones([1, 2]), tf.constant([[True, False]]))
    result = probe.attach(detections, tf.ones([1, 2]))
    assert result.extra["kind"].numpy().tolist() == [[7, 0]]  # padding is zero
    complete = probe.predict
    try:
        probe.predict = lambda *a: {k: v for k, v in complete(*a).items() if k != "kind"}
        with pytest.raises(ValueError, match=r"ProbeHeadConfig.outputs declares .*'kind'.* got"):
            probe.attach(detections, tf.ones([1, 2]))
        for name, value, result in (
            ("kind", tf.ones([1, 2]), r"'kind' as int32 .*, got float32"),
            ("heat", tf.ones([1, 2, 4, 3]), r"'heat' as float32 \(None, None, 3, 3\), got float32 \(1, 2, 4, 3\)"),
        ):
            probe.predict = lambda *a, changed={name: value}: complete(*a) | changed
            with pytest.raises(ConfigError, match=result):
                probe.attach(detections, tf.ones([1, 2]))
    finally:
        del probe.predict


def test_ground_truth_that_a_head_needs_is_named(model: MaskRCNN) -> None:
    heads = (KeypointHeadConfig(num_joints=2, conv_dims=(4,)),)
    joints = MaskRCNN(dataclasses.replace(model.config, heads=heads))
    with pytest.raises(ValueError, match="keypoint_head: its loss 'roi_keypoint' needs gt_keypoints"):
        joints(batch(), training=True)
