from __future__ import annotations

import concurrent.futures
import dataclasses
import gc
import subprocess
import sys
import threading
import types
import weakref
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mrcnn import inference
from mrcnn.data.errors import DataError
from mrcnn.data.rasterize import encode_masks, rle_to_mask
from mrcnn.data.read_options import ReadOptions
from mrcnn.inference import detect, detect_dataset, graph, iter_detect, set_threads, to_instances
from mrcnn.modeling.heads.mask import MaskHeadConfig
from mrcnn.modeling.input import InputConfig
from mrcnn.modeling.roi_pooling import RoiPoolConfig
from mrcnn.structures import masks
from mrcnn.structures.masks import paste_masks
from mrcnn.structures.outputs import KEYPOINTS, MASKS, Pasting
from mrcnn.structures.tensors import batch_spec
from tests.blob_finder import BlobFinder, image, mixed_images
from tests.tiny_model import blank_image, noise_images, tiny_model


@pytest.fixture(scope="module")
def model():
    return BlobFinder()


@pytest.fixture(scope="module")
def real_model():
    return tiny_model()


def same(a, b):
    assert a.image_shape == b.image_shape
    assert np.array_equal(a.class_ids, b.class_ids)
    assert np.array_equal(a.boxes, b.boxes)
    assert np.array_equal(a.scores, b.scores)
    assert np.array_equal(a.masks, b.masks)


@pytest.mark.parametrize("size", [(64, 64), (128, 128), (48, 100), (300, 150), (21, 200), (640, 480)])
def test_boxes_come_back_to_original_pixels(model, size):
    h, w = size
    box = (h // 4, w // 4, h // 4 * 3, w // 2)
    (instances,) = detect(model, [image(h, w, (1, *box))])
    assert instances.image_shape == size
    assert instances.class_ids.tolist() == [2]
    pixel = max(1, max(h, w) / 128, min(h, w) / 64)  # one pixel of the resized image
    assert np.abs(instances.boxes[0] - box).max() <= pixel
    rows, columns = np.flatnonzero(instances.masks[0].any(1)), np.flatnonzero(instances.masks[0].any(0))
    y1, x1, y2, x2 = instances.boxes[0]
    assert abs(rows[0] - y1) <= 1
    assert abs(rows[-1] + 1 - y2) <= 1
    assert abs(columns[0] - x1) <= 1
    assert abs(columns[-1] + 1 - (x1 + x2) / 2) <= 1 + (x2 - x1) / 28  # the left half


def test_the_axes_are_scaled_apart():
    # 10 x 33 -> 20 x 66 exactly, but 7 x 33 -> 20 x 94.29: 94 columns
    instances = detect(BlobFinder(20, 1000, 1), image(7, 33, (0, 0, 0, 7, 33)))[0]
    assert instances.boxes[0] == pytest.approx([0, 0, 7, 33])


CENTERD = {"padding": "center", "canvas": "square", "rounding": "half_even", "interpolation": "linear_black_u8"}


@pytest.mark.parametrize("rules", [{"interpolation": "linear", "rounding": "floor"}, CENTERD], ids=["floor", "centerd"])
@pytest.mark.parametrize("size", [(64, 64), (48, 100), (300, 150), (21, 200)])
def test_boxes_come_back_under_other_rules(rules, size):
    h, w = size
    box = (h // 4, w // 4, h // 4 * 3, w // 2)
    (instances,) = detect(BlobFinder(**rules), [image(h, w, (1, *box))])
    pixel = max(1, max(h, w) / 128, min(h, w) / 64)
    assert np.abs(instances.boxes[0] - box).max() <= pixel


def test_the_canvas_by_other_rules():
    given = {}

    class Spy(BlobFinder):
        def call(self, batch, training=None):
            given.update({k: (v.dtype, v.shape) for k, v in batch.items()})
            return super().call(batch)

    detect(Spy(interpolation="linear"), image(50, 100))
    assert given["image"][0] == tf.float32
    item = inference.prepare_image(image(50, 100, (0, 0, 0, 50, 100)), 0, InputConfig(64, 128, 32, **CENTERD))
    assert item.image.shape == (128, 128, 3)
    assert (item.content_shape, item.origin) == ((64, 128), (32, 0))
    assert item.image[32:96, 1:-1, 0].min() > 0
    assert item.image[:32].max() == item.image[96:].max() == 0


def test_boxes_that_name_their_last_pixel():
    """The whole image (last pixels 19 and 39, 8 pixels in) and a box in it, stretched between pixel centers."""
    detections = {
        "boxes": np.array([[8, 0, 27, 39], [8, 3.9, 17.5, 19.5]], np.float32),
        "class_ids": np.array([1, 2]),
        "scores": np.array([0.9, 0.8], np.float32),
        "valid": np.array([True, True]),
        "masks": np.ones((2, 4, 4), np.float32),
        "keypoints": np.full((2, 1, 3), 18, np.float32),
    }
    config = InputConfig(end_offset=-1.0, whole_pixels=True)
    outputs = (dataclasses.replace(MASKS, paste=Pasting("integer_resize")), KEYPOINTS)
    place = {"origin": (8, 0), "config": config, "outputs": outputs}
    instances = to_instances(detections, (20, 40), (11, 31), **place)
    # (3.9, 17.5 - 8, 19.5) of (39, 19, 39) are a tenth and two halves of 30, 10 and 30 pixels, to which ends add 1
    assert instances.boxes.tolist() == [[0, 0, 11, 31], [0, 3, 6, 16]]
    assert [mask.sum() for mask in instances.masks] == [11 * 31, 6 * 13]
    assert instances.keypoints[0, 0] == pytest.approx([18 * 30 / 39, 10 * 10 / 19, 18])


def test_pasting_follows_the_mask_head():
    model = BlobFinder()
    model.config.outputs = MaskHeadConfig(pool=RoiPoolConfig(end_offset=-1.0), paste="padded_integer").outputs
    pixels = image(64, 64, (0, 16, 16, 48, 48))
    instances = detect(model, pixels)[0]
    half = np.repeat([[1.0, 0.0]], 14, axis=1)[np.newaxis].repeat(28, axis=1)
    expected = paste_masks(half, instances.boxes - [0, 0, 1, 1], 64, 64, convention="padded_integer")
    assert np.array_equal(instances.masks, expected)


def test_results_do_not_depend_on_the_batch(model):
    images = mixed_images(17)
    one_by_one = [detect(model, p)[0] for p in images]
    for batch_size in (1, 3, 8, 100):
        for a, b in zip(one_by_one, detect(model, images, batch_size), strict=True):
            same(a, b)


def test_order_is_kept_when_shapes_alternate(model):
    images = [image(40 + 60 * (i % 3 == 0), 90, (0, 5, i, 20, i + 10)) for i in range(30)]
    for expected, instances in zip(range(30), detect(model, images, 4), strict=True):
        assert abs(instances.boxes[0, 1] - expected) < 2


def test_images_are_read_no_further_ahead_than_stated(model):
    read = 0

    def reader():
        nonlocal read
        yield image(100, 40)  # alone in its shape, so it waits
        for _ in range(50):
            read += 1
            yield image(40, 40)

    results = iter_detect(model, reader(), 2)
    next(results)
    assert read <= 8
    assert len(list(results)) == 50


def test_every_kind_of_image(model, tmp_path):
    gray = image(60, 80, (0, 10, 10, 40, 50))[..., 0]
    as_gray = detect(model, gray, score_threshold=None)[0]
    assert as_gray.class_ids.tolist() == [1, 2, 3]
    same(as_gray, detect(model, gray[..., None], score_threshold=None)[0])
    color = image(60, 80, (2, 10, 10, 40, 50))
    alpha = np.concatenate([color, np.zeros((60, 80, 1), np.uint8)], 2)
    same(detect(model, color)[0], detect(model, alpha)[0])
    Image.fromarray(color).save(tmp_path / "a.png")
    same(detect(model, color)[0], detect(model, tmp_path / "a.png")[0])
    same(detect(model, color)[0], detect(model, [str(tmp_path / "a.png")])[0])
    assert len(detect(model, np.stack([color, color]))) == 2
    assert len(detect(model, (p for p in [color, gray]), 2)) == 2
    assert detect(model, []) == []
    assert len(detect(model, np.zeros((1, 1, 3), np.uint8))[0]) == 0
    same(detect(model, np.asfortranarray(color))[0], detect(model, color[::-1][::-1])[0])


@pytest.mark.parametrize("bad", [np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_bad_images_are_refused_by_place(model, bad):
    with pytest.raises(ValueError, match="image 1: expected uint8"):
        detect(model, [image(40, 40), bad])


def test_bad_files_are_refused_by_name(model, tmp_path):
    Image.fromarray(image(60, 80)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:60])
    (tmp_path / "text.jpg").write_text("not an image")
    for name in ("cut.png", "text.jpg", "absent.png"):
        with pytest.raises(DataError, match=name):
            detect(model, [tmp_path / "whole.png", tmp_path / name])


def test_bad_batch_size_is_refused(model):
    with pytest.raises(ValueError, match="batch_size 0"):
        detect(model, [image(40, 40)], 0)


def test_score_threshold(model):
    colors = image(60, 80, (0, 1, 1, 20, 20), (1, 1, 30, 20, 50), (2, 30, 30, 50, 50))
    everything = detect(model, colors, score_threshold=None)[0]
    assert everything.scores.tolist() == pytest.approx([0.9, 0.6, 0.3])
    assert detect(model, colors)[0].scores.tolist() == pytest.approx([0.9, 0.6])  # 0.5, for people
    assert detect(model, colors, score_threshold=0.5)[0].class_ids.tolist() == [1, 2]
    assert len(detect(model, colors, score_threshold=0.95)[0]) == 0


def test_one_trace_serves_all_sizes():
    model = BlobFinder()
    for batch_size in (1, 2, 5):
        detect(model, mixed_images(12, seed=batch_size), batch_size)
    assert model.traces == 1


def test_new_weights_are_used():
    model = BlobFinder()
    assert len(detect(model, image(60, 80, (0, 10, 10, 40, 50)))[0]) == 1
    model.gain.assign(0.1)
    assert len(detect(model, image(60, 80, (0, 10, 10, 40, 50)))[0]) == 0


def test_a_dropped_model_is_not_kept_alive():
    model = BlobFinder()
    detect(model, image(40, 40))
    alive = weakref.ref(model)
    assert model in graph._graphs
    del model
    gc.collect()
    assert alive() is None


def test_the_batch_is_what_the_spec_says(model):
    given = {}

    class Spy(BlobFinder):
        def call(self, batch, training=None):
            given.update(batch)
            assert training is False
            return super().call(batch)

    detect(Spy(), image(50, 100))
    spec = batch_spec(with_ground_truth=False)
    assert set(given) == set(spec)
    assert all(spec[name].is_compatible_with(tensor) for name, tensor in given.items())


def test_to_instances_clips_and_drops():
    detections = {
        "boxes": np.array([[-2, -2, 10, 10], [5, 5, 30, 60], [3, 40, 8, 45], [1, 1, 2, 2]], np.float32),
        "class_ids": np.array([1, 2, 3, 4]),
        "scores": np.array([0.9, 0.8, 0.7, 0.6], np.float32),
        "valid": np.array([True, True, True, False]),
        "masks": np.ones((4, 4, 4), np.float32),
        "keypoints": np.full((4, 2, 3), 4, np.float32),
    }
    instances = to_instances(detections, (20, 40), (10, 10))
    assert instances.boxes.tolist() == [
        [0, 0, 5, 2.5],
        [2.5, 1.25, 10, 10],
    ]  # the others lie outside or are padding
    assert instances.keypoints[0].tolist() == [[1, 2, 4]] * 2
    # The clipped box's mask is that of the whole box, cut off at the border
    assert instances.masks[0][:5, :2].all()
    assert not instances.masks[0][6:].any()
    assert not instances.masks[0][:, 4:].any()
    empty = to_instances({k: v[:0] for k, v in detections.items()}, (20, 40), (10, 10))
    assert len(empty) == 0
    assert empty.masks.shape == (0, 10, 10)


def test_progress_bar(model, capsys):
    detect(model, mixed_images(3), progress=True)
    said = capsys.readouterr()
    assert "detection: 1 of 3 images" in said.err and "\x1b" not in said.err and said.out == ""
    detect(model, mixed_images(3))
    assert capsys.readouterr() == ("", "")


def test_detect_dataset(model):
    images = mixed_images(5)

    class Images:
        def __len__(self):
            return 5

        def load_image(self, index):
            return images[index]

        def record(self, index):
            return types.SimpleNamespace(image_id=f"image {index}")

    instances = list(detect_dataset(model, Images(), 2))
    assert [i for i, _ in instances] == [f"image {i}" for i in range(5)]
    for (_, a), b in zip(instances, detect(model, images, score_threshold=None), strict=True):
        same(a, b)


def test_the_real_model_gives_the_same_alone_and_in_a_batch(real_model):
    images = noise_images(12)
    alone = detect(real_model, images)
    assert sum(map(len, alone)) > 20
    for a, b in zip(alone, detect(real_model, images, 5), strict=True):
        assert np.array_equal(a.class_ids, b.class_ids)
        np.testing.assert_allclose(a.boxes, b.boxes, atol=1e-3)
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-5)
        assert (a.masks != b.masks).mean() < 1e-4
        assert (np.diff(a.scores) <= 0).all()


def test_boxes_and_masks_of_the_real_model_lie_in_the_image(real_model):
    for pixels, instances in zip(noise_images(6, seed=3), detect(real_model, noise_images(6, seed=3)), strict=True):
        assert instances.image_shape == pixels.shape[:2]
        assert (instances.boxes >= 0).all()
        assert (instances.boxes <= [*instances.image_shape, *instances.image_shape]).all()


def test_masks_are_pasted_when_they_are_read_and_not_before(model, monkeypatch):
    pasted = []
    whole = masks.paste_masks
    monkeypatch.setattr(masks, "paste_masks", lambda *args: pasted.append(len(args[0])) or whole(*args))
    (instances,) = detect(model, image(60, 80, (0, 10, 10, 40, 50), (1, 20, 30, 50, 70)))
    assert "masks" in repr(instances[instances.scores > 0.5]) and len(instances[1:]) == 1 and instances.has_masks
    assert pasted == []
    one_by_one = list(instances.iter_masks())
    assert pasted == [1, 1]
    assert np.array_equal(instances.masks, one_by_one) and instances.masks is instances.masks
    assert pasted == [1, 1, 2]
    assert np.array_equal(instances[[1]].masks, instances.masks[[1]])


def test_run_lengths_of_the_masks(model):
    (instances,) = detect(model, image(60, 80, (0, 10, 10, 40, 50), (1, 20, 30, 50, 70)))
    assert np.array_equal([rle_to_mask(rle) for rle in encode_masks(instances)], instances.masks)
    assert encode_masks(instances[:0]) == []


def test_a_blank_image_has_zero_rows_of_the_right_rank(real_model):
    for pixels in (blank_image(90, 120), np.full((1, 1, 3), 127, np.uint8)):
        (instances,) = detect(real_model, pixels)
        shapes = (instances.boxes.shape, instances.class_ids.shape, instances.scores.shape, instances.masks.shape)
        assert shapes == ((0, 4), (0,), (0,), (0, *pixels.shape[:2]))


def test_too_large_images_are_refused_before_they_are_decoded(model, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"image 1: 60 x 80 .* is 4800 pixels, at most 4799"):
        detect(model, [image(40, 40), image(60, 80)], max_pixels=4799)
    assert len(detect(model, [image(60, 80)], max_pixels=4800)) == 1
    Image.fromarray(image(60, 80)).save(tmp_path / "large.png")
    monkeypatch.setattr("mrcnn.inference.prepare.read_image", lambda _: pytest.fail("decoded"))
    with pytest.raises(ValueError, match=r"large\.png: 60 x 80"):
        detect(model, tmp_path / "large.png", max_pixels=4799)


def test_calls_from_many_threads_equal_one_after_the_other(real_model):
    images = noise_images(20, seed=5)
    expected = [detect(real_model, pixels)[0] for pixels in images]
    assert sum(map(len, expected)) > 40

    def requests(thread: int):
        return [(i, detect(real_model, images[i])[0]) for i in np.roll(np.arange(20), thread)]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for results in pool.map(requests, range(8)):
            for i, instances in results:
                same(instances, expected[i])
    (run,) = graph._graphs[real_model].values()
    assert run.experimental_get_tracing_count() == 1


def test_a_batch_given_up_does_not_harm_the_next(model):
    before = threading.active_count()
    images = mixed_images(30)
    expected = detect(model, images, 4)
    results = iter_detect(model, iter(images), 4)
    next(results)
    results.close()
    with pytest.raises(ValueError, match="image 9"):
        detect(model, [*images[:9], np.zeros((4, 4, 2), np.uint8), *images], 4)

    def breaks():
        yield from images[:5]
        raise OSError("the camera is gone")

    with pytest.raises(OSError, match="camera"):
        list(iter_detect(model, breaks(), 4))
    assert threading.active_count() == before
    for a, b in zip(expected, detect(model, images, 4), strict=True):
        same(a, b)


def test_images_are_made_while_the_model_runs(model):
    makers = []

    def make(i: int):
        makers.append(threading.current_thread())
        return image(40, 40 + i)

    instances = list(iter_detect(model, [lambda i=i: make(i) for i in range(6)], 2))
    assert [f.image_shape[1] for f in instances] == list(range(40, 46))
    assert len(makers) == 6 and threading.main_thread() not in makers


def test_threads_are_refused_too_late_or_too_few():
    with pytest.raises(ValueError, match="threads 0: expected at least 1"):
        set_threads(0)
    tf.zeros(1)
    with pytest.raises(ValueError, match="threads 7: TensorFlow has started"):
        set_threads(7)


MEMORY_SCRIPT = """
import gc, os
from pathlib import Path
from mrcnn.inference import graph, iter_detect
from tests.tiny_model import noise_images, tiny_model

def resident():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

def run(count, seed):
    images = (noise_images(1, seed + k, sides=(40, 500))[0] for k in range(count))
    assert sum(1 for _ in iter_detect(model, images, 2)) == count

model = tiny_model()
run(200, 5000)
before = resident()
run(2000, 0)
(traced,) = graph._graphs[model].values()
print("grown", resident() - before, "traces", traced.experimental_get_tracing_count())
"""


@pytest.mark.slow
def test_memory_stays_flat_over_2000_images():
    if not Path("/proc/self/statm").exists():
        pytest.skip("resident memory is read from /proc")
    # in a process of its own: after other tests the allocator's free pages say more about them than about detect
    done = subprocess.run(
        [sys.executable, "-c", MEMORY_SCRIPT], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr[-2000:]
    _, grown, _, traces = done.stdout.split()[-4:]
    assert float(grown) < 50  # MiB
    assert int(traces) == 1


def test_an_image_that_cannot_be_used_is_raised_skipped_or_handed_over(model, tmp_path, caplog):
    whole = image(60, 80, (0, 10, 10, 40, 50))
    Image.fromarray(whole).save(tmp_path / "a.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    images = [whole, tmp_path / "cut.png", tmp_path / "a.png", np.zeros((4, 4, 2), np.uint8), whole]
    with pytest.raises(DataError, match=r"cut\.png"):
        detect(model, images)
    for batch_size in (1, 2, 5):
        errors = {}
        results = detect(model, images, batch_size, on_error=errors.__setitem__)
        assert [result is None for result in results] == [False, True, False, True, False]
        assert list(errors) == [1, 3] and "cut.png" in str(errors[1]) and "image 3" in str(errors[3])
        same(results[0], results[4])
    assert caplog.records == []
    assert [result is None for result in iter_detect(model, images, on_error="skip")] == [
        False,
        True,
        False,
        True,
        False,
    ]
    assert ["cut.png" in record.getMessage() for record in caplog.records] == [True, False]
    assert detect(model, [images[1], images[3]], on_error="skip") == [None, None]
    with pytest.raises(ValueError, match="on_error 'ignore'"):
        detect(model, whole, on_error="ignore")


def test_skipping_does_not_hide_what_is_no_fault_of_an_image(model):
    def breaks():
        yield image(40, 40)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        detect(model, breaks(), on_error="skip")
    with pytest.raises(TypeError):
        detect(model, [lambda: 1 + "1"], on_error="skip")


def test_read_options_reach_the_reader(model, tmp_path):
    deep = image(60, 80, (0, 10, 10, 40, 50))[..., 0].astype(np.uint16) * 16  # 12 bits of 16
    Image.fromarray(deep).save(tmp_path / "deep.png")
    for holder in (tmp_path / "deep.png", deep):
        assert len(detect(model, holder)[0]) == 0
        assert len(detect(model, holder, read_options=ReadOptions(in_range=12))[0]) == 2
    bands = np.zeros((60, 80, 6), np.uint8)
    bands[10:40, 10:50, 5] = 255
    assert detect(model, bands, read_options=ReadOptions(bands=(6, 1, 2)))[0].class_ids.tolist() == [1]
