"""A script's data set in training: every image with its own masks, as `load_image_gt` gives them."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from mrcnn import model as modellib
from mrcnn.matterport import training
from mrcnn.matterport.feed import Feed, lock_of
from tests.matterport.small import SmallConfig, SmallDataset, small_dataset


def batches_of(dataset, config, count=1, augmentation=None, plain_sources=()):
    """The first batches as dicts of arrays."""
    taken = training._feed(dataset, config, augmentation, plain_sources).batches().take(count)
    return [{name: value.numpy() for name, value in batch.items()} for batch in taken]


class Drawn(SmallDataset):
    """Draws another image whenever it is asked for one; masks are those of the image that was drawn last."""

    def __init__(self):
        super().__init__()
        self.calls, self.users = [], set()
        self.busy = threading.Lock()

    def load_image(self, image_id):
        assert self.busy.acquire(blocking=False), "two workers at once"
        self.calls.append(("image", image_id))
        self.users.add(threading.get_ident())
        self.square = np.random.randint(0, 30, 2)  # noqa: NPY002 - as scripts do
        image = np.full((48, 64, 3), 30, np.uint8)
        y, x = self.square
        image[y : y + 16, x : x + 16] = 220
        self.busy.release()
        return image

    def load_mask(self, image_id):
        assert self.busy.acquire(blocking=False), "two workers at once"
        self.calls.append(("mask", image_id))
        masks = np.zeros((48, 64, 1), bool)
        y, x = self.square
        masks[y : y + 16, x : x + 16] = True
        self.busy.release()
        return masks, np.array([1])


def drawn(count=3):
    data = Drawn()
    data.load_spots(count)
    data.prepare()
    return data


def test_images_drawn_anew_keep_their_masks():
    """Epoch after epoch the bright square lies in the box of its mask."""
    data, config = drawn(), SmallConfig()
    for batch in batches_of(data, config, 12):
        y1, x1, y2, x2 = batch["gt_boxes"][0, 0].astype(int)
        image = batch["image"][0]
        assert (
            (y2 - y1, x2 - x1) == (16, 16) and (image[y1:y2, x1:x2] == 220).all() and (image == 220).sum() == 16**2 * 3
        )
    kinds = [kind for kind, _ in data.calls]
    assert kinds == ["image", "mask"] * (len(kinds) // 2)
    assert all(a[1] == b[1] for a, b in zip(data.calls[::2], data.calls[1::2], strict=True))


@pytest.mark.slow
def test_one_worker_at_a_time_though_training_and_validation_share_a_data_set(tmp_path):
    data = drawn()
    model = modellib.MaskRCNN("training", SmallConfig(), str(tmp_path))
    model.train(data, data, 0.001, 1, r"(mrcnn\_.*)")
    kinds = [kind for kind, _ in data.calls]
    assert kinds == ["image", "mask"] * (len(kinds) // 2)
    assert lock_of(data) is lock_of(data) is not lock_of(drawn())


def test_images_and_objects_are_those_of_load_image_gt():
    data, config = small_dataset(1), SmallConfig()
    image, meta, class_ids, boxes, masks = modellib.load_image_gt(data, config, 0, use_mini_mask=True)
    (batch,) = batches_of(data, config)
    count = len(class_ids)
    np.testing.assert_array_equal(batch["image"][0], image.astype(np.float32))
    np.testing.assert_array_equal(batch["gt_boxes"][0, :count], boxes)
    np.testing.assert_array_equal(np.moveaxis(batch["gt_masks"][0, :count], 0, -1), masks)
    assert batch["gt_class_ids"][0, :count].tolist() == class_ids.tolist() and batch["gt_valid"].sum() == count
    assert batch["content_shape"][0].tolist() == [48, 64] and meta[7:11].tolist() == [8, 0, 56, 64]
    shapes = modellib.compute_backbone_shapes(config, (64, 64, 3))
    assert batch["rpn_match"].shape == (1, 3 * shapes.prod(axis=1).sum()) and batch["rpn_bbox"].shape == (1, 32, 4)


@pytest.mark.parametrize("mode, shape", [("none", (64, 64)), ("pad64", (64, 128)), ("crop", (64, 64))])
def test_other_resize_modes(mode, shape):
    config = SmallConfig()
    config.IMAGE_RESIZE_MODE = mode
    data = small_dataset()
    if mode == "none":
        data.load_image = lambda _: np.zeros((64, 64, 3), np.uint8)
        data.load_mask = lambda _: (np.ones((64, 64, 1), bool), np.array([1]))
    for batch in batches_of(data, config, 2):
        assert batch["image"].shape[1:3] == shape


def test_images_of_other_sizes_in_one_batch_are_refused():
    config, data = SmallConfig(), small_dataset()
    config.IMAGE_RESIZE_MODE, config.BATCH_SIZE = "none", 2
    data.load_image = lambda i: np.zeros((64, 64 + 64 * int(i), 3), np.uint8)
    data.load_mask = lambda i: (np.ones((64, 64 + 64 * int(i), 1), bool), np.array([1]))
    with pytest.raises(ValueError, match="IMAGES_PER_GPU"):
        batches_of(data, config)


def test_what_cannot_be_shown_is_left_out(caplog):
    data = small_dataset(4)
    load_mask, shown = data.load_mask, set()

    def faulty(image_id):
        if image_id == 1:
            raise OSError("cut off")
        masks, class_ids = load_mask(image_id)
        return (masks[..., :0], class_ids[:0]) if image_id == 2 else (masks, class_ids)

    data.load_mask = faulty
    for batch in batches_of(data, SmallConfig(), 6):
        shown.add(int(batch["image_id"][0]))
        assert batch["gt_valid"].sum() == 2
    assert shown == {0, 3} and "Error processing image {'id': 'spot1'" in caplog.text
    data.load_mask = lambda image_id: (np.zeros((48, 64, 0)), np.zeros(0))
    with pytest.raises(ValueError, match="no image"):
        batches_of(data, SmallConfig())


def test_the_sixth_image_that_cannot_be_loaded_stops(caplog):
    data = small_dataset(8)
    data.load_mask = lambda image_id: 1 / 0
    with pytest.raises(ZeroDivisionError):
        batches_of(data, SmallConfig())
    assert caplog.text.count("Error processing image") == 6


def test_an_error_on_the_way_is_raised_as_it_was(tmp_path):
    data, calls = small_dataset(2), []
    load_mask = data.load_mask

    def tires(image_id):
        calls.append(image_id)
        if len(calls) > 3:
            raise LookupError("no more masks")
        return load_mask(image_id)

    data.load_mask = tires
    data.load_image = lambda _: np.full((48, 64, 3), 30, np.uint8)
    config = SmallConfig()
    config.STEPS_PER_EPOCH = 30
    model = modellib.MaskRCNN("training", config, str(tmp_path))
    with pytest.raises(LookupError, match="no more masks"):
        model.train(data, None, 0.001, 1, r"(mrcnn\_.*)")


def test_a_mask_of_nothing_is_no_object_and_a_negative_class_is_a_crowd():
    data, config = small_dataset(1), SmallConfig()
    masks = np.zeros((48, 64, 3), np.uint8)
    masks[4:8, 4:8, 1:] = 1
    data.load_mask = lambda _: (masks, np.array([1, -2, 1]))
    (batch,) = batches_of(data, config)
    assert batch["gt_class_ids"][0, :3].tolist() == [2, 1, 0] and batch["gt_crowd"][0, :3].tolist() == [
        True,
        False,
        False,
    ]


def test_more_objects_than_max_gt_instances_are_drawn_by_chance():
    data, config = small_dataset(1), SmallConfig()
    config.MAX_GT_INSTANCES = 1
    boxes = {tuple(batch["gt_boxes"][0, 0].tolist()) for batch in batches_of(data, config, 20)}
    assert len(boxes) == 2


def test_objects_out_of_sight_leave_the_image_out():
    """What an augmentation moves out is no object, and an image without objects is not trained on."""
    data, seen = small_dataset(2), []

    class Blank:
        """Stands for `load_image_gt` after an augmentation that empties image 1."""

        def __call__(self, dataset, config, image_id, **options):
            image, meta, class_ids, boxes, masks = modellib.load_image_gt(dataset, config, image_id, **options)
            seen.append(image_id)
            return (image, meta, class_ids[:0], boxes[:0], masks[..., :0]) if image_id else (
                image, meta, class_ids, boxes, masks)  # fmt: skip

    feed = Feed(data, SmallConfig(), Blank(), modellib.compute_backbone_shapes)
    assert {int(batch["image_id"][0]) for batch in feed.batches().take(4)} == {0} and 1 in seen


def test_augmenters_of_scripts(tmp_path):
    iaa = pytest.importorskip("imgaug.augmenters", reason="imgaug is not installed")
    data, config = small_dataset(1), SmallConfig()
    chain = iaa.Sometimes(5 / 6, iaa.SomeOf((1, 2), [iaa.Fliplr(1.0), iaa.Affine(rotate=(-30, 30)), iaa.Multiply(0.5)]))
    (plain,) = batches_of(data, config)
    changed = batches_of(data, config, 8, chain)
    assert all(batch["image"].shape == plain["image"].shape for batch in changed)
    assert any((batch["image"] != plain["image"]).any() for batch in changed)
    (kept,) = batches_of(data, config, 1, iaa.Invert(1.0), ["spots"])
    np.testing.assert_array_equal(kept["image"], plain["image"])
    model = modellib.MaskRCNN("training", config, str(tmp_path))
    with pytest.raises(ValueError, match="Jigsaw"):
        model.train(data, data, 0.001, 99, "heads", augmentation=iaa.Jigsaw(2, 2))


def test_the_papers_model_draws_its_own_anchors():
    config = SmallConfig()
    config.PAPER, config.USE_MINI_MASK = True, False
    (batch,) = batches_of(small_dataset(1), config)
    assert "rpn_match" not in batch and "gt_full_masks" not in batch
    assert batch["gt_masks"].shape == (1, 100, 112, 112) and batch["gt_masks"][0, 0].mean() > 0.9
    assert batch["content_shape"][0].tolist() == [64, 64]  # the image lies in the middle of what counts as one
