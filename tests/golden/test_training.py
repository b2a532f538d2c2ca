"""Every golden file with a training part: losses, gradients and the first steps of SGD are the reference's.

All of them come out of `TrainStep.train_step` with the recipes' optimizer, which is what `mrcnn.train` and `fit` run.
"""

from __future__ import annotations

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import mrcnn
from mrcnn.training.schedules import SGDWithL2
from mrcnn.weights.pretrained import read_foreign
from tests.golden.case import DATA, Golden, input_batch, nearest_resize, xyxy

NAMES = sorted(path.stem for path in DATA.glob("*.npz") if "loss_names" in np.load(path).files)
LOSSES = {
    "loss_objectness": "rpn_objectness",
    "loss_rpn_cls": "rpn_objectness",
    "loss_rpn_box_reg": "rpn_box",
    "loss_rpn_loc": "rpn_box",
    "loss_classifier": "roi_class",
    "loss_cls": "roi_class",
    "loss_box_reg": "roi_box",
    "loss_mask": "roi_mask",
    "loss_mask_point": "roi_mask_point",
    "loss_keypoint": "roi_keypoint",
    "loss_sem_seg": "semantic",
    "loss_rpn_bbox": "rpn_box",
    "loss_bbox": "roi_box",
}
ALL_ANCHORS = 1_000_000
NUM_PROPOSALS = 100
# From these steps on rounding decides: torchvision itself, run again, is 5 % and 7 % off its own stored losses there,
# and a change of image or weights by 1e-7 moves either program by up to 20 %. data/README.md has the numbers.
CHAOTIC_FROM = {
    "d2_mask_r50_fpn_gn": 2,
    "d2_mask_r50_fpn_lsj": 1,
    "d2_mask_regnetx_4gf_fpn_lsj": 2,
    "d2_panoptic_r50_fpn": 2,
    "tv_mask_r50_fpn_v2": 2,
}
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 1e-5, 0.9, 1e-4

pytestmark = pytest.mark.slow


def _our_loss(theirs: str) -> str:
    stage = re.fullmatch(r"(loss_(?:cls|box_reg))_stage(\d)", theirs)
    if stage:
        return f"{LOSSES[stage[1]]}_{int(stage[2]) + 1}"
    stage = re.fullmatch(r"s(\d)\.(loss_\w+)", theirs)  # mmdetection
    return f"{LOSSES[stage[2]]}_{int(stage[1]) + 1}" if stage else LOSSES[theirs]


def _config(golden: Golden) -> dict:
    """Nothing drawn at random: every anchor and every RoI takes part, everything trains."""
    num_rois = NUM_PROPOSALS + len(golden["gt_labels"])
    config = {
        "backbone.freeze_at": 0,
        "rpn.batch_per_image": ALL_ANCHORS,
        "rpn.positive_fraction": 1.0,
        "rpn.pre_nms_train": 300,
        "rpn.post_nms_train": NUM_PROPOSALS,
        "roi_sampler.num_rois": num_rois,
        "roi_sampler.positive_fraction": 1.0,
    }
    if not golden.name.startswith(("tv_box", "mm_faster")):
        config["heads.0.num_foreground"] = num_rois
    return config


def _ground_truth(golden: Golden, content: tuple[int, int], canvas: tuple[int, int], original: tuple[int, int]) -> dict:
    """The five objects, in pixels of the canvas; each mask the ellipse inscribed in its box."""
    boxes = xyxy(golden["gt_boxes_xyxy"]).astype(np.float64)
    frame = original if golden.is_torchvision else content
    y, x = np.arange(frame[0])[:, None] + 0.5, np.arange(frame[1])[None] + 0.5
    masks = np.zeros((len(boxes), *canvas), np.uint8)
    for i, (y1, x1, y2, x2) in enumerate(boxes):
        inside = ((y - (y1 + y2) / 2) / ((y2 - y1) / 2)) ** 2 + ((x - (x1 + x2) / 2) / ((x2 - x1) / 2)) ** 2 <= 1
        masks[i, : content[0], : content[1]] = nearest_resize(inside.astype(np.uint8), content)
    scale = np.array(content, np.float32) / np.array(frame, np.float32)
    ground_truth = {
        "gt_boxes": (boxes.astype(np.float32) * np.tile(scale, 2))[None],
        "gt_class_ids": (golden["gt_labels"] + (0 if golden.is_torchvision else 1)).astype(np.int32)[None],
        "gt_masks": np.zeros((1, len(boxes), 1, 1), np.uint8),
        "gt_full_masks": masks[None],
        "gt_crowd": np.zeros((1, len(boxes)), bool),
        "gt_valid": np.ones((1, len(boxes)), bool),
        "seed": np.zeros((1, 2), np.int32),
    }
    if "gt_keypoints" in golden:
        ground_truth["gt_keypoints"] = (golden["gt_keypoints"] * np.array([scale[1], scale[0], 1], np.float32))[None]
    if "gt_sem_seg_blocks32" in golden:
        blocks = golden["gt_sem_seg_blocks32"].repeat(32, axis=0).repeat(32, axis=1)
        semantic = np.full(canvas, 255, np.uint8)
        semantic[: content[0], : content[1]] = blocks[: content[0], : content[1]]
        ground_truth["gt_semantic"] = semantic[None]
    return {key: tf.constant(value) for key, value in ground_truth.items()}


def _give_points(model, points: np.ndarray) -> None:
    """Every RoI's points are these, (x, y) in its box."""
    ours = tf.constant(points[:, ::-1].copy(), tf.float32)

    def draw_train_points(coarse, class_index, seed):
        return tf.broadcast_to(ours, [*tf.unstack(tf.shape(class_index)), *ours.shape])

    model.heads[0].draw_train_points = draw_train_points


@pytest.fixture(autouse=True)
def _free_memory():
    keras.utils.clear_session(free_memory=True)  # of the last file's forty million weights and their gradients


@pytest.mark.parametrize("name", NAMES)
def test_losses_gradients_and_steps(name, tmp_path):
    golden = Golden(name)
    path = golden.write_checkpoint(tmp_path)
    model = mrcnn.load_pretrained(path, **golden.sizes(), **golden.overrides(), **_config(golden))
    if "train_points" in golden:
        _give_points(model, golden["train_points"])
    sources = read_foreign(path)[1].arrays
    image = golden.image()
    original = image.shape[:2]
    if "resized_picture" in golden.meta:
        image = np.asarray(Image.open(DATA / golden.meta["resized_picture"]))
    batch = input_batch(image, model.config.input)
    content = tuple(int(side) for side in batch["content_shape"][0])
    batch |= _ground_truth(golden, content, tuple(batch["image"].shape[1:3]), original)
    variables = {path: v for path, v in mrcnn.weights.report.named_variables(model).items() if v.trainable}

    norms = {id(v): tf.Variable(0.0) for v in variables.values()}
    model.compile(_sgd(norms))
    model.optimizer.build(model.trainable_variables)
    step = tf.function(lambda: model.train_step(batch), autograph=False)
    for number, theirs in enumerate(golden["sgd_lr1e-5_m0.9_wd1e-4_losses"]):
        model.reset_metrics()
        losses = step()
        losses.pop("loss")
        mine = np.array([float(losses[_our_loss(str(key))]) for key in golden["loss_names"]])
        if number == 0:
            assert set(losses) == {_our_loss(str(key)) for key in golden["loss_names"]}
            np.testing.assert_allclose(mine, golden["loss_values"], rtol=1e-3, err_msg=f"{golden['loss_names']}")
            _assert_gradients(golden, sources, {path: float(norms[id(v)]) for path, v in variables.items()})
        if number >= CHAOTIC_FROM.get(name, len(theirs)) and not np.allclose(mine, theirs, rtol=1e-2, atol=0):
            pytest.xfail(f"step {number} differs by {np.abs(mine / theirs - 1).max():.1%}; rounding decides from here")
        np.testing.assert_allclose(mine, theirs, rtol=1e-2, err_msg=f"step {number}: {golden['loss_names']}")


def _sgd(norms: dict[int, tf.Variable]) -> SGDWithL2:
    """The recipes' optimizer, which here also notes the norm of each gradient it is handed, by the variable's id."""

    class NotingSGD(SGDWithL2):
        def apply(self, grads, trainable_variables=None):
            for gradient, variable in zip(grads, trainable_variables, strict=True):
                norms[id(variable)].assign(tf.norm(tf.convert_to_tensor(gradient)))
            super().apply(grads, trainable_variables)

    return NotingSGD(LEARNING_RATE, momentum=MOMENTUM, l2=WEIGHT_DECAY)


def _assert_gradients(golden: Golden, sources, norms: dict[str, float]) -> None:
    """The norm of each parameter's gradient, unless it is next to nothing."""
    theirs = dict(zip(golden["grad_names"].tolist(), golden["grad_norms"].tolist(), strict=True))
    ours = {sources.source_of(name)[0]: name for name in norms if len(sources.source_of(name)) == 1}
    floor = 1e-6 * max(theirs.values())
    checked, wrong = 0, []
    for name, norm in theirs.items():
        assert name in ours, f"{name} trains there and not here"
        if norm > floor:
            mine = norms[ours[name]]
            checked += 1
            if abs(mine - norm) > 1e-2 * norm:
                wrong.append(f"{name}: {mine:.5g}, expected {norm:.5g}")
    assert checked > 0.5 * len(theirs)
    assert not wrong, f"{len(wrong)} of {checked}: " + "; ".join(wrong[:8])
