from __future__ import annotations

import dataclasses
import types

import numpy as np
import pytest

from mrcnn.data.dataset import Dataset
from mrcnn.data.errors import DataError
from mrcnn.data.pipeline import DataConfig, Share, make_pipeline, steps_per_epoch
from mrcnn.errors import InputError
from mrcnn.modeling.mask_rcnn import MaskRCNNConfig
from mrcnn.recipes import Recipe
from mrcnn.structures.tensors import batch_spec
from tests.data.pipeline.rectangles import CROP, INPUT, SMALL, Rectangles, arrays, flat, ids


@pytest.mark.parametrize("config", [SMALL, CROP, dataclasses.replace(SMALL, num_joints=3)])
@pytest.mark.parametrize("with_ground_truth", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_batches_are_as_batch_spec_states(config: DataConfig, with_ground_truth: bool, training: bool) -> None:
    pipeline = make_pipeline(Rectangles(), INPUT, config, 2, training=training, with_ground_truth=with_ground_truth)
    for batch in pipeline:
        b, h, w, _ = batch["image"].shape
        spec = batch_spec(b, h, w, 4, 14, config.num_joints, with_ground_truth=with_ground_truth)
        assert batch.keys() == spec.keys()
        for name, tensor in spec.items():
            assert tensor.is_compatible_with(batch[name]), name
        assert h % 32 == w % 32 == 0
        content = batch["content_shape"].numpy()
        for image, (ch, cw) in zip(batch["image"].numpy(), content, strict=True):
            assert not image[ch:].any()
            assert not image[:, cw:].any()
        if with_ground_truth:
            boxes, valid = batch["gt_boxes"].numpy(), batch["gt_valid"].numpy()
            assert not boxes[~valid].any()
            sides = boxes[valid][:, 2:] - boxes[valid][:, :2]
            assert (sides > 0).all()
            assert (boxes >= 0).all()
            assert (boxes[..., 2:] <= content[:, None] + 1e-4).all()
            assert set(np.unique(batch["gt_masks"])) <= {0, 1}
            assert (batch["gt_class_ids"].numpy()[valid] == 1).all()


def test_static_shapes() -> None:
    one = make_pipeline(Rectangles(), INPUT, CROP, 2, training=True, repeat=True)
    assert one.element_spec["image"].shape == (2, 32, 32, 3)
    two = make_pipeline(Rectangles(), INPUT, SMALL, 2, training=True, repeat=True)
    assert two.element_spec["image"].shape.as_list() == [2, None, None, 3]
    assert {tuple(b["image"].shape[1:3]) for b in two.take(9)} == {(32, 64), (64, 32)}


def test_evaluation_gives_every_image_once_unchanged() -> None:
    for config in (SMALL, CROP):
        pipeline = make_pipeline(Rectangles(7), INPUT, config, 2, training=False)
        shown = ids(pipeline)
        assert shown == [[100, 102], [101, 103], [104, 106], [105]]  # by aspect, in order, last batch kept
        assert ids(pipeline) == shown
        assert pipeline.cardinality().numpy() == 4
        batch = next(iter(pipeline))
        assert batch["original_shape"].numpy().tolist() == [[30, 60], [30, 60]]
        assert batch["content_shape"].numpy().tolist() == [[32, 64], [32, 64]]
    assert steps_per_epoch(Rectangles(7), 2) == 4


def test_boxes_scale_with_the_image() -> None:
    batch = next(iter(make_pipeline(Rectangles(3), INPUT, SMALL, 2, training=False)))
    boxes, valid = batch["gt_boxes"].numpy(), batch["gt_valid"].numpy()
    assert valid.sum(axis=1).tolist() == [0, 2]  # an image without objects is kept
    np.testing.assert_allclose(boxes[1, 0], np.array([3, 2, 20, 20]) * 32 / 30, rtol=1e-5)
    assert batch["gt_masks"].numpy()[1, :2].all()


def test_same_seed_same_batches_whatever_the_workers() -> None:
    def run(**options) -> list[dict[str, np.ndarray]]:
        pipeline = make_pipeline(Rectangles(), INPUT, CROP, 2, training=True, repeat=True, **options)
        return list(pipeline.take(7).as_numpy_iterator())

    first = run(seed=5, workers=1)
    for again in (run(seed=5, workers=4), run(seed=5)):
        for a, b in zip(first, again, strict=True):
            for name in a:
                np.testing.assert_array_equal(a[name], b[name])
    other = run(seed=6)
    assert any((a["seed"] != b["seed"]).any() for a, b in zip(first, other, strict=True))
    # 3 batches an epoch: an epoch later the run is where a resumed one starts.
    for a, b in zip(first[3:], run(seed=5, start_epoch=1), strict=False):
        np.testing.assert_array_equal(a["image"], b["image"])


def test_epochs_differ_and_cover_the_set() -> None:
    pipeline = make_pipeline(Rectangles(12), INPUT, SMALL, 4, training=True)
    first, second = ids(pipeline), ids(pipeline)
    assert sorted(flat(first)) == sorted(flat(second)) == list(range(100, 112))
    assert first != second
    assert all(len({i % 2 for i in batch}) == 1 for batch in first)  # aspects apart
    endless = ids(make_pipeline(Rectangles(5), INPUT, SMALL, 2, training=True, repeat=True).take(50))
    counts = np.bincount(np.ravel(endless) - 100)
    assert counts.min() >= 18
    assert counts.max() <= 22
    assert len({tuple(b["seed"].numpy().ravel()) for b in pipeline}) == 4


def test_remainders() -> None:
    assert [len(b) for b in ids(make_pipeline(Rectangles(7), INPUT, CROP, 3, training=True))] == [3, 3, 1]
    dropped = make_pipeline(Rectangles(7), INPUT, CROP, 3, training=True, drop_remainder=True)
    assert [len(b) for b in ids(dropped)] == [3, 3]
    assert dropped.element_spec["image"].shape[0] == 3
    with pytest.raises(DataError, match="drop_remainder leaves none"):
        make_pipeline(Rectangles(2), INPUT, CROP, 3, training=True, drop_remainder=True)


def test_empty_sets_and_images_without_objects() -> None:
    with pytest.raises(DataError, match="no image"):
        make_pipeline(Dataset(), INPUT, SMALL, 2, training=True)
    kept = dataclasses.replace(SMALL, keep_empty=False)
    assert sorted(flat(ids(make_pipeline(Rectangles(6), INPUT, kept, 2, training=True)))) == [101, 102, 103, 105]
    assert len(flat(ids(make_pipeline(Rectangles(6), INPUT, kept, 2, training=False)))) == 6
    with pytest.raises(DataError, match="no image"):
        make_pipeline(Rectangles(1), INPUT, kept, 2, training=True)


def test_string_ids_become_numbers() -> None:
    batches = make_pipeline(Rectangles(3, string_ids=True), INPUT, SMALL, 2, training=False)
    assert sorted(flat(ids(batches))) == [0, 1, 2]


def test_a_run_resumes_at_any_batch() -> None:
    whole = arrays(make_pipeline(Rectangles(7), INPUT, CROP, 3, training=True, seed=5, repeat=True), 9)
    for start in (0, 1, 4, 8):
        rest = make_pipeline(Rectangles(7), INPUT, CROP, 3, training=True, seed=5, repeat=True, start_batch=start)
        for batch, wanted in zip(arrays(rest, 9 - start), whole[start:], strict=True):
            for key, value in wanted.items():
                np.testing.assert_array_equal(batch[key], value, err_msg=key)


def test_shares_put_together_are_the_batches() -> None:
    whole = arrays(make_pipeline(Rectangles(7), INPUT, CROP, 4, training=True, repeat=True), 5)
    # One machine with two devices, then two machines with one device each
    both = arrays(make_pipeline(Rectangles(7), INPUT, CROP, 4, training=True, repeat=True, share=Share(4, 0, 2)), 10)
    third = arrays(make_pipeline(Rectangles(7), INPUT, CROP, 4, training=True, repeat=True, share=Share(4, 2, 1)), 5)
    last = arrays(make_pipeline(Rectangles(7), INPUT, CROP, 4, training=True, repeat=True, share=Share(4, 3, 1)), 5)
    for i, batch in enumerate(whole):
        parts = [both[2 * i], both[2 * i + 1], third[i], last[i]]
        for key, value in batch.items():
            np.testing.assert_array_equal(np.concatenate([part[key] for part in parts]), value, err_msg=key)


def test_shares_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="a batch of 3 images cannot be cut into 2 equal parts"):
        make_pipeline(Rectangles(7), INPUT, CROP, 3, training=True, repeat=True, share=Share(2, 0, 1))
    with pytest.raises(ValueError, match="need repeat=True"):
        make_pipeline(Rectangles(7), INPUT, CROP, 2, training=True, start_batch=1)


def test_a_model_a_recipe_or_an_input_config_decides_the_size() -> None:
    config = MaskRCNNConfig(input=INPUT)
    recipe = Recipe(model=config, data=dataclasses.replace(SMALL, max_instances=7))
    for source, most in ((INPUT, 100), (types.SimpleNamespace(config=config), 100), (recipe, 7)):
        batch = next(iter(make_pipeline(Rectangles(1), source, training=False)))
        assert batch["image"].shape == (1, 32, 64, 3)
        assert batch["gt_boxes"].shape[1] == most
    with pytest.raises(InputError, match="expected a model, a recipe or an InputConfig, got DataConfig"):
        make_pipeline(Rectangles(1), SMALL, training=False)


def test_several_sizes_are_for_training_only() -> None:
    config = dataclasses.replace(SMALL, short_sides=(16, 24, 32))
    training = make_pipeline(Rectangles(8), INPUT, config, training=True)
    assert {min(batch["content_shape"][0].numpy().tolist()) for batch in training} == {16, 24, 32}
    for batch in make_pipeline(Rectangles(2), INPUT, config, training=False):
        assert min(batch["content_shape"][0].numpy().tolist()) == 32


@pytest.mark.parametrize(
    "changes, warned",
    [
        ({}, False),
        ({"short_sides": (24, 40)}, False),
        ({"short_sides": (48, 64)}, True),
        ({"short_sides": (48, 64), "scale_jitter": (0.5, 1.0)}, False),
        ({"scale_jitter": (0.2, 0.9)}, True),
    ],
)
def test_training_at_other_sizes_than_the_models_is_logged_once(caplog, changes: dict, warned: bool) -> None:
    config = dataclasses.replace(SMALL, **changes)
    list(make_pipeline(Rectangles(4), INPUT, config, training=True))
    list(make_pipeline(Rectangles(4), INPUT, config, training=False))
    assert sum("evaluation and detection to 32" in message for message in caplog.messages) == warned
