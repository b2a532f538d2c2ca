"""Every golden file: taps, proposals, detections, masks and keypoints of the reference, from its own checkpoint."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import mrcnn
from mrcnn.export.served_check import pixel_inputs, served_instances
from mrcnn.inference.panoptic import class_logits, semantic_map
from mrcnn.modeling.input import content_window, proposal_window
from tests.golden.case import DATA, Golden, input_batch, pairwise_iou, xyxy

NAMES = sorted(path.stem for path in DATA.glob("*.npz") if "det_scores" in np.load(path).files)
QUICK = (
    "tv_mask_r50_fpn",
    "tv_keypoint_r50_fpn",
    "d2_mask_r50_fpn",
    "d2_mask_r50_fpn_gn",
    "d2_cascade_r50_fpn",
    "mp_mask_r50",
)
"""What `make test` looks at, something of each program; the slow tests look at all."""
IN_A_GRAPH = ("tv_mask_r50_fpn", "d2_mask_r50_fpn", "mp_mask_r50")
SERVED = ("d2_mask_vitdet",)
LEAST_MATCHED = 0.98  # of the reference's detections: near ties at the cut-off may swap


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in NAMES]
)
def case(request, tmp_path_factory):
    """The file, a model of its checkpoint, and what the model makes of its image."""
    keras.utils.clear_session(free_memory=True)  # of the last file's forty million weights
    golden = Golden(request.param)
    path = golden.write_checkpoint(tmp_path_factory.mktemp("golden"))
    model = mrcnn.load_pretrained(path, score_threshold=0.05, **golden.sizes(), **golden.overrides())
    path.unlink()
    return golden, model, _taps(golden, model)


def _taps(golden: Golden, model) -> dict:
    """What lies between image and proposals, from the bytes the reference was given.

    Not traced: a graph would take longer to build than one image takes without. `test_detections` runs in a graph.
    """
    config = model.config.input
    image = golden.resized_image(config)
    batch = input_batch(golden.image() if image is None else image, config)
    below = model.run_backbone(_normalized(model, batch), None)
    features = model.neck(below)
    output = model.rpn(features)
    clip_to = proposal_window(tf.shape(batch["image"])[1:3], batch["content_shape"], config)
    proposals = model.rpn.propose(output, clip_to, for_training=False)
    taps = {
        "input": _normalized(model, batch),
        "features": {**below, **features},
        "logits": output.logits,
        "deltas": output.deltas,
        "anchors": output.anchors,
        "level_sizes": list(output.level_sizes),
        "proposals": proposals.boxes,
    }
    return tf.nest.map_structure(np.asarray, taps)


def _normalized(model, batch) -> tf.Tensor:
    config = model.config.input
    window = content_window(tf.shape(batch["image"])[1:3], batch["content_shape"], config)
    return model.normalize(batch["image"], window if config.padding_pixels == "zero_input" else None)


def _keys(golden: Golden, *beginnings: str) -> list[str]:
    keys = [key.removesuffix("/index") for key in golden.values.files if key.endswith("/index")]
    return [key for key in keys if key.startswith(beginnings)]


def test_input_from_the_original_image(case):
    golden, model, _ = case
    golden.assert_input(_normalized(model, input_batch(golden.image(), model.config.input)))


def test_input_and_features(case):
    golden, _, ours = case
    keys = _keys(golden, "fpn", "features", "backbone", "bottom_up")
    assert keys
    if golden.is_matterport:
        assert tuple(golden["molded_shape"]) == ours["input"].shape[1:]
    golden.assert_tap("input", ours["input"])
    for key in keys:
        golden.assert_tap(key, ours["features"][golden.level(key)])


def test_rpn(case):
    golden, model, ours = case
    if golden.is_matterport:
        foreground = 1 / (1 + np.exp(-ours["logits"].astype(np.float64)))
        golden.assert_tap("rpn_class", np.stack([1 - foreground, foreground], -1))
        golden.assert_tap("rpn_bbox", ours["deltas"])
        return
    levels = model.config.rpn.levels
    ends = np.cumsum(ours["level_sizes"])
    per_cell = model.config.rpn.anchors.per_cell
    for level, end, size in zip(levels, ends, ours["level_sizes"], strict=True):
        height, width = ours["features"][level].shape[1:3]
        name = level if golden.is_mmdetection else level.replace("c", "res")
        logits = ours["logits"][:, end - size : end].reshape(1, height, width, per_cell)
        golden.assert_tap(f"rpn_logits/{name}", logits)
        deltas = xyxy(ours["deltas"][:, end - size : end]).reshape(1, height, width, 4 * per_cell)
        golden.assert_tap(f"rpn_deltas/{name}", deltas)
    golden.assert_tap("anchors", xyxy(ours["anchors"]))


def test_proposals(case):
    golden, _, ours = case
    if golden.is_matterport:
        theirs = golden["proposals_yxyx_normalised"]
        height, width = golden["molded_shape"][:2]
        mine = ours["proposals"][0] / np.array([height - 1, width - 1] * 2)
    else:
        theirs, mine = xyxy(golden["proposals"]), ours["proposals"][0]
    best = pairwise_iou(theirs, mine).max(1)
    assert np.mean(best >= 0.99) >= LEAST_MATCHED, f"{np.mean(best >= 0.99):.3f} of their proposals are ours"
    np.testing.assert_allclose(mine[0], theirs[0], rtol=1e-3, atol=1e-3 * np.abs(theirs).max())


def test_heads_on_probe_boxes(case):
    golden, model, ours = case
    if "probe_boxes_xyxy" not in golden:
        pytest.skip("the reference's file has no values on probe boxes")
    boxes = tf.constant(xyxy(golden["probe_boxes_xyxy"])[None], tf.float32)
    valid = tf.ones(boxes.shape[:2], tf.bool)
    features = {name: tf.constant(value) for name, value in ours["features"].items()}
    window = tf.constant([[0.0, 0.0, *ours["input"].shape[1:3]]])
    pooled = model.box_head.pooler(features, boxes, valid, training=False)
    golden.assert_tap("roi_align_7", np.asarray(pooled)[0])
    for stage, end in _stages(golden, model.box_head, "box_deltas"):
        pred = stage(features, boxes, valid, window, training=False)
        assert_class_logits(golden, pred.class_logits, f"box_logits{end}")
        assert_box_deltas(golden, pred.deltas, f"box_deltas{end}")
    for branch, end in (stage for head in model.heads for stage in _stages(golden, head, "mask_logits")):
        if "coarse_mask_logits/index" in golden:
            assert_points(golden, branch, features, boxes)
            continue
        pred = np.asarray(branch(features, boxes, valid, window, training=False))[0]
        if f"mask_logits{end}/index" in golden:
            assert_mask_logits(golden, pred, f"mask_logits{end}")
        if "keypoint_logits/index" in golden:
            golden.assert_tap("keypoint_logits", pred)
    if model.semantic_head is not None:
        golden.assert_tap("sem_seg_head_logits", model.semantic_head(features, training=False))


def _stages(golden: Golden, head, key: str) -> list:
    """The head, or the stages of a cascade, and what the names of their values end with; each on the same boxes.

    `key` begins the name of one of these values.
    """
    if not hasattr(head, "stages"):
        return [(head, "")]
    ends = [f"_stage{k}" for k in range(len(head.stages))]
    assert {f"{key}{end}/index" for end in ends} <= set(golden.values.files)
    return list(zip(head.stages, ends, strict=True))


def assert_class_logits(golden: Golden, ours, key: str) -> None:
    """Class logits [1, N, C + 1], background first, against theirs."""
    if f"{key}/index" in golden:
        golden.assert_tap(key, np.roll(ours[0], -1, axis=1))
        return
    theirs = golden[key] if golden.is_torchvision else np.roll(golden[key], 1, axis=1)
    np.testing.assert_allclose(ours[0], theirs, rtol=1e-3, atol=1e-3)
    assert np.linalg.norm(ours[0] - theirs) <= 1e-4 * np.linalg.norm(theirs)


def assert_box_deltas(golden: Golden, ours, key: str) -> None:
    """Deltas [1, N, (dy, dx, dh, dw), C] against theirs; torchvision has some for the background, never used."""
    deltas = xyxy(np.asarray(ours)[0].transpose(0, 2, 1))  # [N, C, (dx, dy, dw, dh)]
    first = 1 if golden.is_torchvision else 0
    full = np.concatenate([np.zeros((len(deltas), first, 4)), deltas], 1)
    index = golden[f"{key}/index"]
    things = np.unravel_index(index, full.shape)[1] >= first
    mine, theirs = full.ravel()[index[things]], golden[f"{key}/value"][things]
    assert np.linalg.norm(mine - theirs) <= 1e-4 * np.linalg.norm(theirs), key


def assert_mask_logits(golden: Golden, ours, key: str) -> None:
    """Mask logits [N, M, M, C] against theirs; torchvision has some for the background, never used."""
    first = 1 if golden.is_torchvision else 0
    full = np.concatenate([np.zeros((*ours.shape[:3], first)), ours], -1).transpose(0, 3, 1, 2)
    index = golden[f"{key}/index"]
    things = np.unravel_index(index, full.shape)[1] >= first
    mine, theirs = full.ravel()[index[things]], golden[f"{key}/value"][things]
    assert np.linalg.norm(mine - theirs) <= 1e-4 * np.linalg.norm(theirs), key


def assert_points(golden: Golden, head, features, boxes) -> None:
    """PointRend's coarse masks, and what it sees and says at points; theirs have the channels before the points."""
    coarse = head.coarse_masks(features, boxes)
    golden.assert_tap("coarse_mask_logits", np.asarray(coarse)[0])
    points = tf.constant(golden["probe_points"][None, ..., ::-1].copy())
    seen = head.features_at(features, boxes, points, head.config.point_levels)
    golden.assert_tap("point_features", np.asarray(seen)[0].transpose(0, 2, 1))
    golden.assert_tap("point_logits", np.asarray(head.logits_at(features, boxes, coarse, points))[0].transpose(0, 2, 1))


@pytest.fixture
def eagerly(case):
    """`detect` without a graph, whose tracing takes longer than the image, but for one file of each program."""
    tf.config.run_functions_eagerly(case[0].name not in IN_A_GRAPH)
    yield
    tf.config.run_functions_eagerly(False)


def test_detections(case, eagerly):
    """From the image as it was taken, also where the input differs at ties."""
    golden, model, _ = case
    assert_detections(golden, model)
    if "panoptic_seg" in golden:
        assert_panoptic(golden, model)


@pytest.mark.slow
def test_detections_in_a_graph(case):
    """The same as `detect` does it, for the files that `test_detections` takes without a graph."""
    golden, model, _ = case
    if golden.name in IN_A_GRAPH:
        pytest.skip("test_detections has done it")
    assert_detections(golden, model)


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVED)
def test_detections_of_a_saved_model(name, tmp_path):
    """Those of the reference, from a graph of stock operations that knows nothing of the package."""
    golden = Golden(name)
    path = golden.write_checkpoint(tmp_path)
    model = mrcnn.load_pretrained(path, score_threshold=0.05, **golden.sizes(), **golden.overrides())
    image = golden.image()
    folder = mrcnn.export_saved_model(model, tmp_path / "model", images=[image])
    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    inputs = {key: tf.constant(value) for key, value in pixel_inputs([image]).items()}
    outputs = {key: value.numpy() for key, value in serve(**inputs).items()}
    (ours,) = served_instances(outputs, [image.shape[:2]], declared=model.config.outputs)
    assert_same_detections(golden, ours)


def assert_detections(golden: Golden, model) -> None:
    (ours,) = mrcnn.detect(model, [golden.image()], score_threshold=None)
    assert_same_detections(golden, ours)


def assert_same_detections(golden: Golden, ours) -> None:
    boxes, classes, scores = _their_detections(golden)
    partner = match(boxes, classes, scores, ours)
    missed = np.flatnonzero(partner < 0)
    assert len(missed) <= (1 - LEAST_MATCHED) * len(boxes), f"{len(missed)} of {len(boxes)} have no partner: {missed}"
    assert abs(len(ours) - len(boxes)) <= (1 - LEAST_MATCHED) * len(boxes)
    if "det_masks_top20" in golden:
        height, width = golden["det_masks_hw"]
        masks = np.unpackbits(golden["det_masks_top20"], axis=-1)[:, :height, :width].astype(bool)
        for theirs, i in zip(masks, partner, strict=False):
            if i >= 0:
                mask = ours.masks[i]
                union = (mask | theirs).sum()
                assert union == 0 or (mask & theirs).sum() / union >= 0.98
        for area, i in zip(golden["det_masks_area"], partner, strict=True):
            if i >= 0:
                assert abs(ours.masks[i].sum() - area) <= 0.02 * area + 2
    if "det_keypoints" in golden:
        for theirs, i in zip(golden["det_keypoints"], partner, strict=True):
            if i >= 0:
                assert np.abs(ours.keypoints[i, :, :2] - theirs[:, :2]).max() <= 1.0


def assert_panoptic(golden: Golden, model) -> None:
    """The logits in the image as it was taken, their largest, and the segments: all of them, with their pixels."""
    batch = input_batch(golden.image(), model.config.input)
    logits = np.asarray(model.semantic_head(model.extract_features(batch, training=False)))[0]
    shapes = tuple(batch["content_shape"].numpy()[0].tolist()), golden.image().shape[:2]
    stride = model.config.semantic_head.common_stride
    maps = [class_logits(logits[..., k], stride, *shapes) for k in range(logits.shape[-1])]
    golden.assert_tap("sem_seg", np.stack(maps))
    assert np.mean(semantic_map(logits, stride, *shapes) == golden["sem_seg_argmax"]) >= 0.9999
    (ours,) = mrcnn.detect_panoptic(model, [golden.image()])
    assert np.mean(ours.ids == golden["panoptic_seg"]) >= 0.9999
    theirs = json.loads(str(golden["panoptic_segments"]))
    assert [(s.id, s.is_thing) for s in ours.segments] == [(s["id"], s["isthing"]) for s in theirs]
    for mine, their in zip(ours.segments, theirs, strict=True):
        assert mine.class_id == their["category_id"] + their["isthing"]  # their things count from 0
        assert not mine.is_thing or abs(mine.score - their["score"]) <= 1e-3


def _their_detections(golden: Golden) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (y1, x1, y2, x2), class ids from 1, scores."""
    if golden.is_matterport:
        return golden["det_rois_yxyx"].astype(np.float64), golden["det_class_ids"], golden["det_scores"]
    classes = golden["det_labels"] + (0 if golden.is_torchvision else 1)  # detectron2 counts things from 0
    return xyxy(golden["det_boxes_xyxy"]), classes, golden["det_scores"]


def match(boxes, classes, scores, ours) -> np.ndarray:
    """For each of their detections the number of ours that is the same, or -1: each of ours used once."""
    iou = pairwise_iou(boxes, ours.boxes) if len(ours) else np.zeros((len(boxes), 0))
    close = np.abs(scores[:, None] - ours.scores) <= 1e-3
    same = (iou >= 0.99) & (classes[:, None] == ours.class_ids) & close
    partner = np.full(len(boxes), -1)
    free = np.ones(len(ours), bool)
    for i in range(len(boxes)):
        candidates = np.flatnonzero(same[i] & free)
        if len(candidates):
            best = candidates[np.argmin(np.abs(ours.scores[candidates] - scores[i]))]
            partner[i], free[best] = best, False
    return partner
