from __future__ import annotations

import hashlib
import http.server
import json
import random
import threading

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mrcnn import utils
from tests.matterport import golden_train


class Shapes(utils.Dataset):
    def __init__(self, before):
        self.before = before  # set before the base is built
        super().__init__()

    def add_class(self, source, class_id, class_name):
        super().add_class(source, class_id, class_name)

    def load_mask(self, image_id):
        info = self.image_info[image_id]
        if info["source"] != "shapes":
            return super(self.__class__, self).load_mask(image_id)
        return np.ones((4, 6, 1), bool), np.array([2])

    def image_reference(self, image_id):
        info = self.image_info[image_id]
        return info["polygons"] if info["source"] == "shapes" else super(self.__class__, self).image_reference(image_id)


def _shapes():
    data = Shapes("x")
    for class_id, name in ((1, "square"), (7, "circle, round"), (7, "again")):
        data.add_class("shapes", class_id, name)
    data.add_class("other", 1, "thing")
    data.add_image("shapes", image_id="a.png", path=None, polygons="p", class_id=[1])
    data.add_image(source="other", image_id=5, path="b.png")
    data.prepare()
    return data


def test_dataset_numbers_classes_and_images():
    data = _shapes()
    assert data.class_names == ["BG", "square", "circle", "thing"] and data.num_classes == 4
    np.testing.assert_array_equal(data.image_ids, [0, 1])
    np.testing.assert_array_equal(data.class_ids, [0, 1, 2, 3])
    assert data.image_info[0] == {"id": "a.png", "source": "shapes", "path": None, "polygons": "p", "class_id": [1]}
    assert data.class_info[2] == {"source": "shapes", "id": 7, "name": "circle, round"}
    assert data.map_source_class_id("shapes.7") == 2 and data.get_source_class_id(2, "shapes") == 7
    assert data.source_class_ids["shapes"] == [0, 1, 2] and data.source_class_ids["other"] == [0, 3]
    assert sorted(data.sources) == ["", "other", "shapes"]
    assert data.image_reference(0) == "p" and data.image_reference(1) == ""
    masks, class_ids = data.load_mask(1)  # the base's: nothing
    assert masks.size == 0 and class_ids.shape == (0,)


def test_dataset_reads_gray_and_transparent_images_as_rgb(tmp_path):
    data = utils.Dataset()
    for name, mode in (("gray", "L"), ("alpha", "RGBA")):
        Image.new(mode, (5, 3), 9 if mode == "L" else (9, 8, 7, 0)).save(tmp_path / f"{name}.png")
        data.add_image("x", name, tmp_path / f"{name}.png")
    data.prepare()
    assert data.load_image(0).shape == (3, 5, 3) and data.load_image(0)[0, 0].tolist() == [9, 9, 9]
    assert data.load_image(np.int64(1))[0, 0].tolist() == [9, 8, 7]


def test_extract_bboxes():
    mask = np.zeros((5, 6, 2), np.uint8)
    mask[1:3, 2:6, 0] = 1
    boxes = utils.extract_bboxes(mask)
    assert boxes.dtype == np.int32 and boxes.tolist() == [[1, 2, 3, 6], [0, 0, 0, 0]]


def test_overlaps_of_boxes_and_masks():
    a, b = np.array([[0, 0, 2, 2]]), np.array([[0, 0, 2, 4], [5, 5, 6, 6]])
    np.testing.assert_allclose(utils.compute_overlaps(a, b), [[0.5, 0]])
    np.testing.assert_allclose(utils.compute_iou(a[0], b, 4, np.array([8, 1])), [0.5, 0])
    first, second = np.zeros((4, 4, 1)), np.zeros((4, 4, 2), bool)
    first[:2, :2], second[:2, :, 0] = 1, True
    np.testing.assert_allclose(utils.compute_overlaps_masks(first, second), [[0.5, 0]])
    assert utils.compute_overlaps_masks(first[..., :0], second).shape == (0, 2)


def test_box_functions_work_inside_a_graph():
    with tf.Graph().as_default():
        overlaps = utils.compute_overlaps(np.array([[0, 0, 1, 1]]), np.array([[0, 0, 1, 1]]))
    np.testing.assert_allclose(overlaps, [[1.0]])


def test_nms_takes_whole_numbers():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]])
    kept = utils.non_max_suppression(boxes, np.array([0.5, 0.9, 0.1]), 0.7)
    assert kept.tolist() == [1, 2] and kept.dtype == np.int32


def test_deltas_there_and_back():
    boxes, gt = np.array([[0.0, 0, 10, 20]]), np.array([[5.0, 10, 25, 30]])
    deltas = utils.box_refinement(boxes, gt)
    np.testing.assert_allclose(deltas, [[1.0, 0.5, np.log(2), 0.0]], atol=1e-6)
    np.testing.assert_allclose(utils.apply_box_deltas(boxes, deltas), gt, atol=1e-5)
    np.testing.assert_allclose(utils.box_refinement_graph(boxes, gt), deltas)


def test_normalized_boxes():
    normal = utils.norm_boxes(np.array([[0, 0, 101, 51]]), (101, 51))
    np.testing.assert_allclose(normal, [[0, 0, 1, 1]])
    assert utils.denorm_boxes(normal, (101, 51)).tolist() == [[0, 0, 101, 51]]
    assert utils.denorm_boxes(normal, (101, 51)).dtype == np.int32


def test_resize_image_square():
    image = np.full((20, 40, 3), 200, np.uint8)
    out, window, scale, padding, crop = utils.resize_image(image, min_dim=32, max_dim=64, min_scale=0, mode="square")
    assert out.shape == (64, 64, 3) and out.dtype == np.uint8 and scale == 1.6 and crop is None
    assert window == (16, 0, 48, 64) and padding == [(16, 16), (0, 0), (0, 0)]
    assert out[32, 32].tolist() == [200] * 3 and out[15].max() == 0
    out, window, scale, *_ = utils.resize_image(image.astype(np.float32) - 300, min_dim=8, max_dim=64)
    assert scale == 1 and out.dtype == np.float32 and window == (22, 12, 42, 52) and out[30, 30, 0] == -100


def test_resize_image_other_modes():
    image = np.zeros((20, 40, 3), np.int32)
    assert utils.resize_image(image, 64, 64, mode="none")[0] is image
    out, window, scale, *_ = utils.resize_image(image, min_dim=64, max_dim=999, mode="pad64")
    assert out.shape == (64, 128, 3) and window == (0, 0, 64, 128) and scale == 3.2 and out.dtype == np.int32
    out, window, _, _, crop = utils.resize_image(image, min_dim=32, mode="crop")
    assert out.shape == (32, 32, 3) and window == (0, 0, 32, 32) and crop[0] == 0 and crop[2:] == (32, 32)
    assert utils.resize_image(image, min_dim=0, max_dim=100, min_scale=2.0)[2] == 2.0
    with pytest.raises(Exception, match="stretch"):
        utils.resize_image(image, mode="stretch")


def test_resize_mask_follows_the_image():
    mask = np.zeros((2, 4, 1), np.uint8)
    mask[0] = 1
    out = utils.resize_mask(mask, 2, [(1, 1), (0, 0), (0, 0)])
    assert out.dtype == np.uint8 and out[..., 0].tolist() == [[0] * 8, [1] * 8, [1] * 8, [0] * 8, [0] * 8, [0] * 8]
    assert utils.resize_mask(mask, 2, None, crop=(1, 2, 2, 3))[..., 0].tolist() == [[1] * 3, [0] * 3]


def test_mini_masks_there_and_back():
    mask = np.zeros((20, 30, 1), np.uint8)
    mask[4:12, 6:26, 0] = 1
    mask[4:8, 6:16, 0] = 0
    boxes = utils.extract_bboxes(mask)
    mini = utils.minimize_mask(boxes, mask, (16, 16))
    assert mini.shape == (16, 16, 1) and mini.dtype == bool
    assert not mini[:7, :7].any() and mini[9:, 1:15].all()
    full = utils.expand_mask(boxes, mini, mask.shape)
    assert full.shape == mask.shape and np.mean(full != mask.astype(bool)) < 0.02
    with pytest.raises(Exception, match="area of zero"):
        utils.minimize_mask(np.zeros((1, 4)), mask, (16, 16))


def test_unmold_mask_fills_the_box():
    full = utils.unmold_mask(np.ones((28, 28), np.float32), np.array([2, 3, 8, 9]), (10, 12, 3))
    assert full.shape == (10, 12) and full.dtype == bool
    assert full[3:7, 4:8].all() and full.sum() <= 36


def test_anchors():
    anchors = utils.generate_anchors(32, [0.5, 1, 2], (2, 2), 16, 1)
    assert anchors.shape == (12, 4)
    half = 16 * np.sqrt(2)
    np.testing.assert_allclose(anchors[0], [-half, -half / 2, half, half / 2], rtol=1e-6)  # 0.5: twice as high as wide
    np.testing.assert_allclose(anchors[4], [-16, 0, 16, 32])  # the square of the second cell
    assert utils.generate_anchors(32, [1], (3, 3), 16, 2).shape == (4, 4)
    pyramid = utils.generate_pyramid_anchors((8, 16), [1], np.array([[4, 4], [2, 2]]), [4, 8], 1)
    assert pyramid.shape == (20, 4)
    np.testing.assert_allclose(pyramid[16], [-8, -8, 8, 8])


def _two_objects():
    masks = np.zeros((10, 10, 2), bool)
    masks[:4, :4, 0] = masks[6:, 6:, 1] = True
    return utils.extract_bboxes(masks), np.array([1, 2]), masks


def test_average_precision_by_hand():
    boxes, class_ids, masks = _two_objects()
    empty = np.zeros((10, 10, 1), bool)
    empty[4:6, 4:6] = True
    pred_masks = np.concatenate([masks[..., 1:], empty, masks[..., :1]], -1)
    pred_boxes = utils.extract_bboxes(pred_masks)
    scores, ids = np.array([0.9, 0.8, 0.7]), np.array([2, 1, 1])
    gt_match, pred_match, _ = utils.compute_matches(boxes, class_ids, masks, pred_boxes, ids, scores, pred_masks)
    assert gt_match.tolist() == [2.0, 0.0] and pred_match.tolist() == [1.0, -1.0, 0.0]
    ap, precisions, recalls, overlaps = utils.compute_ap(
        boxes, class_ids, masks, pred_boxes, ids, scores, pred_masks, iou_threshold=0.5
    )
    assert ap == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    np.testing.assert_allclose(precisions, [1, 1, 2 / 3, 2 / 3, 0])
    np.testing.assert_allclose(recalls, [0, 0.5, 0.5, 1, 1])
    assert overlaps.shape == (3, 2)
    wrong_class = utils.compute_ap(boxes, class_ids, masks, boxes, class_ids[::-1], np.ones(2), masks)[0]
    assert wrong_class == 0


def test_average_precision_without_detections_and_over_a_range(capsys):
    boxes, class_ids, masks = _two_objects()
    nothing = (np.zeros((0, 4), np.int32), np.zeros(0, np.int32), np.zeros(0), np.zeros((10, 10, 0)))
    assert utils.compute_ap(boxes, class_ids, masks, *nothing)[0] == 0
    result = (boxes, class_ids, np.array([0.9, 0.8]), masks)
    assert utils.compute_ap_range(boxes, class_ids, masks, *result) == pytest.approx(1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "AP @0.50:\t 1.000" and lines[-1] == "AP @0.50-0.95:\t 1.000" and len(lines) == 11


def test_recall():
    gt = np.array([[0, 0, 10, 10], [20, 20, 30, 30]])
    recall, ids = utils.compute_recall(np.array([[0, 0, 10, 9], [50, 50, 60, 60]]), gt, 0.5)
    assert recall == 0.5 and ids.tolist() == [0]


def test_batch_slice_and_trim_zeros():
    x = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_allclose(utils.batch_slice([x, x], lambda a, b: a + b, 2), 2 * x)
    assert utils.trim_zeros(np.array([[1, 0], [0, 0]])).tolist() == [[1, 0]]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """A cache of the test's own, and no waiting between attempts."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("MRCNN_CACHE_DIR", str(folder))
    monkeypatch.delenv("MRCNN_OFFLINE", raising=False)
    monkeypatch.setattr("mrcnn.weights.fetch._WAIT", 0.001)
    return folder


def test_download_says_what_to_do_and_leaves_no_half_file(tmp_path, monkeypatch):
    monkeypatch.setenv("MRCNN_OFFLINE", "1")
    with pytest.raises(OSError, match=r"coco\.h5 cannot be fetched .*257\.6 MB.* put that file at .*coco\.h5"):
        utils.download_trained_weights(str(tmp_path / "coco.h5"))
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr("mrcnn.matterport.utils.COCO_MODEL_URL", "http://example.com/coco.h5")
    with pytest.raises(OSError, match="only https"):
        utils.download_trained_weights(str(tmp_path / "coco.h5"), verbose=0)


class _Server(http.server.BaseHTTPRequestHandler):
    """Announces 1,000,000 bytes and sends as many as the path says, as one piece or in chunks."""

    def do_GET(self):
        how, _, number = self.path[1:].partition("-")
        self.send_response(200)
        if how == "announced":
            self.send_header("Content-Length", "1000000")
        elif how == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"f4240\r\n" * (how == "chunked") + b"x" * int(number))
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize("how", ["announced", "chunked"])
def test_a_download_that_breaks_off_leaves_nothing(tmp_path, monkeypatch, server, how):
    monkeypatch.setattr("mrcnn.matterport.utils.COCO_MODEL_URL", f"{server}/{how}-400000")
    with pytest.raises(OSError, match=r"cannot be fetched .*bytes arrived, then 6 .*; put that file at .*coco\.h5"):
        utils.download_trained_weights(str(tmp_path / "coco.h5"), verbose=0)
    assert not list(tmp_path.iterdir())


def test_a_download_that_is_whole_is_kept_for_the_next_script_too(tmp_path, monkeypatch, server, capsys):
    monkeypatch.setattr("mrcnn.matterport.utils.COCO_MODEL_URL", f"{server}/announced-1000000")
    utils.download_trained_weights(str(tmp_path / "coco.h5"), verbose=0)
    assert (tmp_path / "coco.h5").read_bytes() == b"x" * 1_000_000 and capsys.readouterr() == ("", "")
    monkeypatch.setenv("MRCNN_OFFLINE", "1")
    utils.download_trained_weights(str(tmp_path / "other/coco.h5"))
    assert (tmp_path / "other/coco.h5").read_bytes() == b"x" * 1_000_000
    assert "done downloading" in capsys.readouterr().out


def test_a_download_of_another_file_than_the_published_one_is_refused(tmp_path, monkeypatch, server):
    url = f"{server}/announced-1000000"
    monkeypatch.setattr("mrcnn.matterport.utils.COCO_MODEL_URL", url)
    monkeypatch.setattr("mrcnn.matterport.fetch.KNOWN_FILES", {url: (1_000_000, "0" * 32)})
    with pytest.raises(OSError, match=r"the md5 of what arrived begins with [0-9a-f]{32}, expected 0{32}"):
        utils.download_trained_weights(str(tmp_path / "coco.h5"), verbose=0)
    assert not list(tmp_path.iterdir())
    digest = hashlib.md5(b"x" * 1_000_000).hexdigest()
    monkeypatch.setattr("mrcnn.matterport.fetch.KNOWN_FILES", {url: (1_000_000, digest)})
    utils.download_trained_weights(str(tmp_path / "coco.h5"), verbose=0)
    assert (tmp_path / "coco.h5").stat().st_size == 1_000_000


# `resize_image` of other types than uint8, against matterport's own outputs


RESIZED = json.loads(str(golden_train.values()["table/resize_image/outputs"]))


@pytest.mark.parametrize("case", sorted(RESIZED))
def test_resize_image_is_matterports(case):
    expected, source, dtype = RESIZED[case], case[0], case.rpartition("_")[2]
    image = golden_train.values()[f"table/resize_image/{source}/input_uint8"]
    if dtype != "uint8":
        image = 5 * image.astype(np.int32) - 300
    image = (image / 7).astype(np.float32) if dtype == "float32" else image
    random.seed(5)
    result, window, scale, padding, crop = utils.resize_image(image, **expected["args"])
    assert result.dtype == dtype and list(result.shape) == expected["shape"] and list(window) == expected["window"]
    assert scale == expected["scale"] and [list(sides) for sides in padding] == expected["padding"]
    assert (crop and list(crop)) == expected["crop"]
    off = np.abs(result.reshape(-1)[expected["index"]].astype(np.float64) - expected["value"])
    if dtype == "float32":
        assert off.max() < 1e-4
        return
    # Cut to whole numbers; where the exact value is one, rounding in scikit-image may leave it below.
    assert off.max() <= 1 and (off > 0).mean() <= 0.05


def test_uint16_and_borders_blend_with_black():
    image = np.full((2, 2, 1), 1000, np.uint16)
    image[0, 0] = 0
    result = utils.resize(image, (4, 4), preserve_range=True)[..., 0]
    # 0.75 of the last pixel and 0.25 of the black beyond it; along both axes at the corner.
    assert result[3, 3] == pytest.approx(1000 * 0.75**2) and result[3, 2] == pytest.approx(1000 * 0.75 * 1.0)
    assert result[0, 0] == 0 and utils.resize_image(image, 4, 4)[0].dtype == np.uint16
    bright = utils.resize(np.full((2, 2), 7.0), (4, 4), preserve_range=True)
    assert (bright == 7.0).all()  # scikit-image leaves no value below those of the image
