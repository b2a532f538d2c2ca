from __future__ import annotations

import datetime
import os
import threading
import types

import h5py
import numpy as np
import pytest
import tensorflow as tf

from mrcnn import model as modellib
from mrcnn.matterport import images, weights_file
from mrcnn.weights import matterport
from mrcnn.weights.open_file import read_arrays
from mrcnn.weights.report import named_variables
from tests.golden.case import Golden, pairwise_iou
from tests.matterport.small import SmallConfig, finding_model, small_dataset

HEADS = ["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_bbox", "mrcnn_mask"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return finding_model(tmp_path_factory.mktemp("logs"))


@pytest.fixture
def image():
    rng = np.random.default_rng(0)
    return np.repeat(np.repeat(rng.integers(0, 256, (5, 8, 3)), 10, 0), 10, 1).astype(np.uint8)


def _check(result, shape):
    n = len(result["rois"])
    assert set(result) == {"rois", "class_ids", "scores", "masks"}
    assert result["rois"].shape == (n, 4) and result["rois"].dtype == np.int32
    assert result["class_ids"].shape == (n,) and result["class_ids"].dtype == np.int32
    assert result["scores"].shape == (n,) and result["scores"].dtype == np.float32
    assert result["masks"].shape == (*shape, n) and result["masks"].dtype == bool
    assert (np.diff(result["scores"]) <= 0).all()
    return n


def test_crops_may_have_sides_that_are_no_multiples_of_64(tmp_path):
    config = SmallConfig()
    config.IMAGE_RESIZE_MODE, config.IMAGE_MIN_DIM = "crop", 100
    model = finding_model(tmp_path, config)
    image = np.random.default_rng(0).integers(0, 256, (100, 120, 3)).astype(np.uint8)
    exact, again = (model.detect([image.astype(dtype)])[0] for dtype in (np.uint8, np.uint16))
    assert _check(again, (100, 120)) == 10
    np.testing.assert_array_equal(again["rois"], exact["rois"])
    np.testing.assert_allclose(again["scores"], exact["scores"], atol=1e-6)
    shown, window = images.whole(image[:50, :80].astype(np.float32), config)  # twice as large
    assert shown.shape == (128, 192, 3) and window == (14, 16, 114, 176) and shown.dtype == np.float32


def test_crops_that_the_class_asks_for_must_be_multiples_of_64(tmp_path):
    class Crops(SmallConfig):
        IMAGE_RESIZE_MODE, IMAGE_MIN_DIM = "crop", 100

    with pytest.raises(Exception, match=r"^Image size must be dividable by 2 at least 6 times to avoid fractions"):
        modellib.MaskRCNN("inference", Crops(), str(tmp_path))


def _same(a, b):
    for name in set(a) - {"masks"}:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-4, atol=1e-5)
    # A model that has learned nothing gives many a pixel a probability at the threshold, where rounding decides.
    assert a["masks"].shape == b["masks"].shape and (a["masks"] != b["masks"]).mean() < 1e-3


def test_detect(model, image, capsys):
    results = model.detect([image], verbose=1)
    assert len(results) == 1 and _check(results[0], (50, 80)) > 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Processing 1 images"
    assert lines[1].startswith("image                    shape: (50, 80, 3)           min:")
    assert [line.split()[0] for line in lines[1:5]] == ["image", "molded_images", "image_metas", "anchors"]


def test_detect_takes_any_number_of_any_sizes(model, image):
    alone = model.detect([image])[0]
    results = model.detect([image, image[:, :40], image])
    assert [r["masks"].shape[:2] for r in results] == [(50, 80), (50, 40), (50, 80)]
    _same(results[2], alone)
    _same(model.detect(image[None])[0], alone)
    assert model.detect([]) == []


def test_detect_takes_any_type_of_number(model, image):
    whole = model.detect([image.astype(np.int32)])[0]
    _check(whole, (50, 80))
    square = np.zeros((64, 64, 3), np.uint8)
    square[:50] = image[:, :64]
    _same(model.detect([square.astype(np.float32)])[0], model.detect([square])[0])
    # Already without its mean, which is then taken once more.
    molded = np.expand_dims(modellib.mold_image(square, model.config), 0)
    twice = model.detect(molded, verbose=0)[0]
    _check(twice, (64, 64))
    _same(model.detect_molded(modellib.mold_image(molded, model.config), None)[0], twice)


def test_detect_in_threads_and_inside_a_graph(model, image):
    expected, instances = model.detect([image])[0], []
    threads = [threading.Thread(target=lambda: instances.append(model.detect([image])[0])) for _ in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    with tf.Graph().as_default():
        instances.append(model.detect([image])[0])
    with tf.device("/cpu:0"):
        instances.append(model.detect([image])[0])
    for result in instances:
        _same(result, expected)
    model.keras_model._make_predict_function()


def test_modes(model, image, tmp_path):
    with pytest.raises(AssertionError, match="training mode"):
        model.train(None, None, 0.1, 1, "heads")
    with pytest.raises(AssertionError):
        modellib.MaskRCNN("testing", SmallConfig(), tmp_path)
    config = SmallConfig()
    config.IMAGE_SHAPE = np.array([100, 100, 3])
    with pytest.raises(Exception, match="2 at least 6 times"):
        modellib.MaskRCNN("inference", config, tmp_path)


def test_subclass_without_the_base_constructor(image, tmp_path):
    class Own(modellib.MaskRCNN):
        def __init__(self, mode, config, model_dir):
            self.mode, self.config, self.model_dir = mode, config, model_dir
            self.set_log_dir()
            self.keras_model = self.build(mode=mode, config=config)

    own = Own("inference", SmallConfig(), str(tmp_path))
    _check(own.detect([image])[0], (50, 80))
    with tf.Graph().as_default():
        inside = modellib.MaskRCNN("inference", SmallConfig(), str(tmp_path))
    _check(inside.detect([image])[0], (50, 80))


@pytest.mark.slow
def test_weights_go_out_and_come_back(model, image, tmp_path):
    path = tmp_path / "own.h5"
    model.keras_model.save_weights(str(path))
    with h5py.File(path) as file:
        assert {"conv1", "bn_conv1", "rpn_model", "mrcnn_mask"} <= {n.decode() for n in file.attrs["layer_names"]}
        assert file["rpn_model"].attrs["weight_names"][0] == b"rpn_conv_shared/kernel:0"
        assert file["mrcnn_class_conv1/mrcnn_class_conv1/kernel:0"].shape == (7, 7, 16, 16)
        assert file["mrcnn_mask/mrcnn_mask/kernel:0"].shape == (1, 1, 256, 3)
    arrays = read_arrays(path).arrays
    described = matterport.describe(arrays)
    assert described.num_classes == 2 and not matterport.to_ours(arrays, described).unused
    other = modellib.MaskRCNN("inference", SmallConfig(), str(tmp_path))
    other.load_weights(filepath=str(path), by_name=True)
    _same(other.detect([image])[0], model.detect([image])[0])
    for name, variable in named_variables(model.keras_model).items():
        np.testing.assert_array_equal(variable, named_variables(other.keras_model)[name])
    other.keras_model.set_weights(model.keras_model.get_weights())


def test_exclude(model, tmp_path):
    path = tmp_path / "own.h5"
    model.keras_model.save_weights(path)

    class More(SmallConfig):
        NUM_CLASSES = 5

    more = modellib.MaskRCNN("inference", More(), str(tmp_path))
    before = more.keras_model.box_head.class_logits.kernel.numpy()
    with pytest.raises(ValueError, match=r"mrcnn_class_logits.*exclude"):
        more.load_weights(path, by_name=True)
    more.load_weights(path, by_name=True, exclude=HEADS)
    np.testing.assert_array_equal(more.keras_model.box_head.class_logits.kernel, before)
    layers = weights_file.layer_names(more.keras_model, more.config)
    mine, theirs = named_variables(more.keras_model), named_variables(model.keras_model)
    for name, layer in layers.items():
        if layer not in HEADS:
            np.testing.assert_array_equal(mine[name], theirs[name])
    kernel = more.keras_model.rpn.objectness.kernel
    kernel.assign(kernel * 0 + 7)
    more.load_weights(path, exclude=[*HEADS, "rpn_model", "conv1"])
    assert (kernel.numpy() == 7).all()


def test_an_imagenet_file_of_the_backbone(model, tmp_path):
    path = tmp_path / "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
    value = np.full((7, 7, 3, 64), 0.25, np.float32)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"conv1", b"bn_conv1"]
        group = file.create_group("conv1")
        group.attrs["weight_names"] = [b"conv1/conv1_W:0", b"conv1/conv1_b:0"]
        group["conv1/conv1_W:0"], group["conv1/conv1_b:0"] = value, np.full(64, 2, np.float32)
        group = file.create_group("bn_conv1")
        leaves = ("gamma", "beta", "running_mean", "running_std")
        group.attrs["weight_names"] = [f"bn_conv1/bn_conv1_{leaf}:0".encode() for leaf in leaves]
        for i, leaf in enumerate(leaves):
            group[f"bn_conv1/bn_conv1_{leaf}:0"] = np.full(64, i + 1, np.float32)
    other = modellib.MaskRCNN("inference", SmallConfig(), str(tmp_path))
    other.load_weights(str(path), by_name=True)
    stem = {k.rpartition("/")[2]: v.numpy() for k, v in named_variables(other.keras_model).items() if "stem_" in k}
    np.testing.assert_array_equal(stem["kernel"], value)
    assert [float(stem[n][0]) for n in ("gamma", "beta", "moving_mean", "moving_variance", "bias")] == [1, 2, 3, 4, 2]
    with pytest.raises(ValueError, match="by_name=True"):
        other.load_weights(str(path))


def _stub(tmp_path):
    """A model without its network: files and epochs only."""
    stub = object.__new__(modellib.MaskRCNN)
    stub.mode, stub.config, stub.model_dir = "training", SmallConfig(), str(tmp_path)
    stub.keras_model = types.SimpleNamespace()
    stub.set_log_dir()
    return stub


def test_folders_and_epochs(tmp_path, monkeypatch, capsys):
    stub = _stub(tmp_path)
    now = datetime.datetime.now()
    assert stub.log_dir.startswith(os.path.join(str(tmp_path), f"small-1{now:%Y%m%dT}")) and stub.epoch == 0
    assert stub.checkpoint_path.format(epoch=3).endswith("mask_rcnn_small-1_0003.h5")
    for separator in "/\\":
        stub.set_log_dir(separator.join(["", "logs", "shapes20171029T2315", "mask_rcnn_shapes_0007.h5"]))
        assert stub.epoch == 7 and stub.log_dir.endswith("small-120171029T2315")
        assert capsys.readouterr().out == "Re-starting from epoch 7\n"
    stub.set_log_dir("modelHead.h5")
    assert stub.epoch == 0


def test_find_last_serves_both_generations(tmp_path):
    stub = _stub(tmp_path)
    with pytest.raises(FileNotFoundError, match="model directory"):
        stub.find_last()
    for folder in ("small-120200101T0000", "small-120210101T0000", "zebra20300101T0000"):
        (tmp_path / folder).mkdir()
    with pytest.raises(FileNotFoundError, match="weight files"):
        stub.find_last()
    for name in ("mask_rcnn_small-1_0001.h5", "mask_rcnn_small-1_0012.h5", "zz.h5"):
        (tmp_path / "small-120210101T0000" / name).touch()
    last = stub.find_last()
    assert last == str(tmp_path / "small-120210101T0000" / "mask_rcnn_small-1_0012.h5") == last[1]
    assert last[-3:] == ".h5" and os.path.basename(last) == "mask_rcnn_small-1_0012.h5" and isinstance(last, str)


def test_log_columns(capsys):
    modellib.log("image", np.array([[1, 250]], np.uint8))
    modellib.log("nothing", np.zeros((0, 4)))
    modellib.log("text")
    assert capsys.readouterr().out.splitlines() == [
        "image                    shape: (1, 2)                min:    1.00000  max:  250.00000  uint8",
        "nothing                  shape: (0, 4)                min:             max:             float64",
        "text",
    ]


def test_molding():
    config = SmallConfig()
    image = np.full((2, 2, 3), 200, np.uint8)
    molded = modellib.mold_image(image, config)
    assert molded.dtype == np.float32
    np.testing.assert_allclose(molded[0, 0], [76.3, 83.2, 96.1], rtol=1e-5)
    assert modellib.mold_image(image[None], config).shape == (1, 2, 2, 3)
    np.testing.assert_allclose(modellib.unmold_image(molded.astype(np.float64), config), image, atol=1)


def test_load_image_gt():
    data, config = small_dataset(), SmallConfig()
    image, meta, class_ids, boxes, masks = modellib.load_image_gt(data, config, 1, use_mini_mask=False)
    assert image.shape == (64, 64, 3) and image.dtype == np.uint8
    assert class_ids.tolist() == [1, 2] and boxes.dtype == np.int32 and masks.shape == (64, 64, 2)
    assert masks.dtype == np.uint8  # as load_mask gave them
    y, x = np.random.default_rng(1).integers(2, 20), np.random.default_rng(1)
    x.integers(2, 20)
    x = x.integers(2, 40)
    assert boxes[0].tolist() == [y + 8, x, y + 28, x + 20]  # eight black rows above
    parsed = modellib.parse_image_meta(meta[None])
    assert meta.shape == (config.IMAGE_META_SIZE,) and meta.dtype == np.float64
    assert parsed["image_id"].tolist() == [1] and parsed["window"].tolist() == [[8, 0, 56, 64]]
    assert parsed["original_image_shape"].tolist() == [[48, 64, 3]] and parsed["scale"].tolist() == [1]
    assert parsed["active_class_ids"].tolist() == [[1, 1, 1]]
    assert modellib.parse_image_meta_graph(meta[None])["window"].tolist() == [[8, 0, 56, 64]]
    mini = modellib.load_image_gt(data, config, 1, augmentation=None, use_mini_mask=True)[4]
    assert mini.shape == (56, 56, 2) and mini.dtype == bool and mini[..., 0].all()


def test_anchors_are_there_before_any_image_was():
    class Bare(modellib.MaskRCNN):
        def __init__(self):  # as subclasses do that build the network later
            self.config = SmallConfig()

    bare = Bare()
    assert bare.anchors.shape == (3 * (256 + 64 + 16 + 4 + 1), 4)
    bare.get_anchors((128, 64, 3))
    assert len(bare.anchors) == 3 * 2 * (256 + 64 + 16 + 4) + 3 * 2
    bare.anchors = bare.anchors[:5]
    assert len(bare.anchors) == 5


def test_anchors_and_backbone_shapes(model):
    shapes = modellib.compute_backbone_shapes(model.config, (64, 64, 3))
    assert shapes.tolist() == [[16, 16], [8, 8], [4, 4], [2, 2], [1, 1]]
    normal = model.get_anchors((64, 64, 3))
    assert normal.shape == model.anchors.shape == (3 * (256 + 64 + 16 + 4 + 1), 4)
    np.testing.assert_allclose(model.anchors[1], [-4, -4, 4, 4])
    np.testing.assert_allclose(normal[1], np.array([-4, -4, 3, 3]) / 63, rtol=1e-5)


def test_unmold_detections(model):
    detections = np.zeros((3, 6))
    detections[0] = [0, 0, 1, 1, 2, 0.9]  # the whole of a canvas of 64 pixels
    detections[1] = [8 / 63, 0, 55 / 63, 1, 1, 0.5]  # the image in it
    masks = np.ones((3, 28, 28, 3), np.float32)
    boxes, class_ids, scores, full = model.unmold_detections(
        detections, masks, (24, 32, 3), (64, 64, 3), np.array([8, 0, 56, 64])
    )
    assert boxes.tolist() == [[0, 0, 24, 32], [0, 0, 24, 32]] and boxes.dtype == np.int32
    assert class_ids.tolist() == [2, 1] and scores.tolist() == pytest.approx([0.9, 0.5]) and full.shape == (24, 32, 2)
    assert full[2:-2, 2:-2].all()


@pytest.mark.slow
def test_the_golden_file_holds_through_detect(tmp_path):
    golden = Golden("mp_mask_r50")
    path = golden.write_checkpoint(tmp_path)

    class InferenceConfig(modellib.native_config.Config):
        NAME, NUM_CLASSES, BACKBONE, IMAGES_PER_GPU = "coco", 81, "resnet50", 1
        DETECTION_MIN_CONFIDENCE = 0.05
        IMAGE_MIN_DIM, IMAGE_MAX_DIM = golden.sizes()["short_side"], golden.sizes()["long_side"]

    reference = modellib.MaskRCNN("inference", InferenceConfig(), str(tmp_path))
    reference.load_weights(str(path), by_name=True)
    path.unlink()
    (instances,) = reference.detect([golden.image()])
    boxes, classes, scores = golden["det_rois_yxyx"], golden["det_class_ids"], golden["det_scores"]
    same = (
        (pairwise_iou(boxes, instances["rois"]) >= 0.99)
        & (classes[:, None] == instances["class_ids"])
        & (np.abs(scores[:, None] - instances["scores"]) <= 1e-3)
    )
    assert same.any(1).mean() >= 0.98 and abs(len(boxes) - len(instances["rois"])) <= 0.02 * len(boxes)
