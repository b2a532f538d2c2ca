"""Things and stuff of images: the map in the image's own pixels, and the way from images to segments."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import mrcnn
from mrcnn.data.errors import DataError
from mrcnn.errors import InputError
from mrcnn.export.errors import ExportError
from mrcnn.inference import graph
from mrcnn.inference.panoptic import class_logits, detect_panoptic, detect_panoptic_dataset, semantic_map
from mrcnn.modeling.mask_rcnn import MaskRCNN
from mrcnn.modeling.semantic_head import SemanticHeadConfig
from mrcnn.structures.tensors import SEMANTIC_LOGITS
from tests.blob_finder import BlobFinder, image
from tests.reference.semantic import enlarge
from tests.tiny_model import tiny_config


class SkyAbove(BlobFinder):
    """Blobs, and stuff class 2 in the upper half of the canvas, 1 below it."""

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.config.semantic_head = SemanticHeadConfig()
        self.config.stuff_names = ("ground", "sky")

    def call(self, batch, training=None):
        outputs = super().call(batch, training)
        size, height, width = (tf.shape(batch["image"])[i] for i in range(3))
        above = tf.cast(tf.range(height // 4) < height // 8, tf.float32)[None, :, None]
        above = tf.broadcast_to(above, [size, height // 4, width // 4])
        return {**outputs, SEMANTIC_LOGITS: tf.stack([0 * above - 9, 1 - above, above], axis=-1)}


def test_logits_in_the_image_are_enlarged_cut_and_resized() -> None:
    logits = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    canvas = enlarge(logits[None], 4)[0]
    np.testing.assert_allclose(class_logits(logits, 4, (17, 22), (17, 22), (2, 3)), canvas[2:19, 3:25], atol=1e-5)
    twice = class_logits(logits, 4, (10, 12), (20, 24))
    np.testing.assert_allclose(twice, enlarge(canvas[None, :10, :12], 2)[0], atol=1e-5)


def test_the_largest_logit_wins_and_the_first_of_equals() -> None:
    logits = np.random.default_rng(1).normal(size=(5, 6, 4)).astype(np.float32)
    shapes = ((19, 22), (30, 41), (1, 0))
    maps = [class_logits(logits[..., k], 4, *shapes) for k in range(4)]
    result = semantic_map(logits, 4, *shapes)
    assert result.dtype == np.uint8 and result.shape == (30, 41)
    np.testing.assert_array_equal(result, np.argmax(maps, axis=0))
    assert not semantic_map(np.zeros((5, 6, 4), np.float32), 4, *shapes).any()


def test_images_become_segments() -> None:
    images = [image(60, 90, (0, 5, 5, 25, 25)), image(80, 64)]
    model = SkyAbove()
    results = detect_panoptic(model, images, batch_size=2, min_stuff_area=50)
    alone = [detect_panoptic(model, one, min_stuff_area=50)[0] for one in images]
    assert results == alone and [r.ids.shape for r in results] == [(60, 90), (80, 64)]
    first, second = results
    assert [(s.is_thing, s.class_id) for s in first.segments] == [(True, 1), (False, 1), (False, 2)]
    assert first.mask(1)[8:22, 7:13].all() and not first.mask(1)[:, 17:].any() and first.segments[0].score is not None
    assert second.ids[0, 0] != second.ids[-1, 0] and sum(second.areas().values()) == 80 * 64
    assert detect_panoptic(model, images[1], min_stuff_area=10**6)[0].segments == ()
    assert detect_panoptic(model, []) == []
    skipped = detect_panoptic(model, [np.zeros((4, 4)), images[1]], on_error="skip", min_stuff_area=50)
    assert skipped == [None, second]


def test_a_dataset_by_its_ids() -> None:
    data = mrcnn.Dataset()
    data.add_image("x", "a", None, height=60, width=90)
    data.load_image = lambda index: image(60, 90)
    ((image_id, segments),) = detect_panoptic_dataset(SkyAbove(), data)
    assert image_id == "a" and segments.ids.shape == (60, 90)


def test_instances_alone_do_not_compute_stuff() -> None:
    model = SkyAbove()
    (instances,) = mrcnn.detect(model, image(60, 90, (0, 5, 5, 25, 25)))
    assert len(instances) == 1 and not instances.extra
    assert graph.graph_of(model) is not graph.graph_of(model, SEMANTIC_LOGITS)


def test_what_cannot_be_used() -> None:
    with pytest.raises(InputError, match=r"no semantic branch \(model.semantic_head is None\)"):
        detect_panoptic(BlobFinder(), [])
    model = SkyAbove()
    with pytest.raises(InputError, match="batch_size 0"):
        detect_panoptic(model, [], 0)
    with pytest.raises(InputError, match="on_error 'stop'"):
        detect_panoptic(model, [], on_error="stop")
    with pytest.raises(DataError):
        detect_panoptic(model, [np.zeros((4, 4))])
    model.config.outputs = ()
    with pytest.raises(InputError, match=r"no mask head \(model.heads\)"):
        detect_panoptic(model, [])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["saved_model", "onnx", "openvino", "tflite"])
def test_exports_refuse_stuff(name: str, tmp_path) -> None:
    config = dataclasses.replace(
        tiny_config(), semantic_head=SemanticHeadConfig(channels=16), stuff_names=("sky", "sea")
    )
    export = getattr(mrcnn, f"export_{name}")
    with pytest.raises(ExportError, match=r"a panoptic model \(model.semantic_head\) cannot be exported"):
        export(MaskRCNN(config), tmp_path / {"saved_model": "m", "openvino": "m.xml"}.get(name, f"m.{name}"))
    assert not any(tmp_path.iterdir())
