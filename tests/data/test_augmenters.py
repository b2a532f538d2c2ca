from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mrcnn
from mrcnn.data.augmentations.flip import RandomFlip
from mrcnn.data.augmenters import Augmentation, as_augmentation, augment
from mrcnn.data.pipeline import DataConfig
from mrcnn.preprocessing import InputConfig

ROOT = Path(__file__).parents[2]


class Blocks(mrcnn.Dataset):
    def __init__(self):
        super().__init__()
        self.add_class("blocks", 1, "block")
        for i in range(4):
            self.add_image("blocks", i, None, width=64, height=64)

    def load_image(self, index):
        return np.random.default_rng(index).integers(0, 256, (64, 64, 3)).astype(np.uint8)

    def load_mask(self, index):
        masks = np.zeros((64, 64, 1), bool)
        masks[5 + index : 30, 10 : 20 + index] = True
        return masks, np.ones(1, np.int32)


@pytest.fixture(scope="module")
def iaa():
    return pytest.importorskip("imgaug.augmenters", reason="imgaug is not installed")


@pytest.fixture(scope="module")
def albumentations():
    return pytest.importorskip("albumentations", reason="Albumentations is not installed")


def _sample():
    """A left and a right block in an image of 20 x 30 whose pixels say where they are, each with two joints."""
    image = np.zeros((20, 30, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(20)[:, None], np.arange(30)
    boxes = np.float32([[2, 4, 8, 10], [10, 20, 18, 28]])
    joints = np.float32([[[5, 3, 2], [9, 7, 1]], [[21, 11, 2], [0, 0, 0]]])
    return {
        "image": image,
        "boxes": boxes,
        "windows": boxes.copy(),
        "masks": [np.full((6, 6), 255, np.uint8), np.full((8, 8), 255, np.uint8)],
        "class_ids": np.array([1, 2], np.int32),
        "is_crowd": np.zeros(2, bool),
        "keypoints": joints,
    }


def _shifted(libs, name):
    if name == "imgaug":
        return libs.Affine(translate_px={"x": 5, "y": 0}, order=0)
    return libs.Affine(translate_px={"x": (5, 5), "y": (0, 0)}, interpolation=0, p=1.0)


@pytest.mark.parametrize("library", ["imgaug", "albumentations"])
def test_geometry_moves_everything_together(request, library):
    libs = request.getfixturevalue("iaa" if library == "imgaug" else "albumentations")
    sample = _sample()
    moved = Augmentation(_shifted(libs, library))(sample, np.random.default_rng(0))
    assert moved["image"][3, 5 + 9].tolist() == [3, 9, 0]
    # The right block loses its last three columns, which leave the image.
    np.testing.assert_array_equal(moved["boxes"], [[2, 9, 8, 15], [10, 25, 18, 30]])
    assert [mask.shape for mask in moved["masks"]] == [(6, 6), (8, 5)]
    np.testing.assert_allclose(moved["keypoints"][0], [[10, 3, 2], [14, 7, 1]], atol=1e-3)
    np.testing.assert_allclose(moved["keypoints"][1], [[26, 11, 2], [0, 0, 0]], atol=1e-3)
    assert moved["class_ids"].tolist() == [1, 2]
    np.testing.assert_array_equal(sample["boxes"], _sample()["boxes"])


@pytest.mark.parametrize("library", ["imgaug", "albumentations"])
def test_a_semantic_map_moves_too(request, library):
    libs = request.getfixturevalue("iaa" if library == "imgaug" else "albumentations")
    sample = _sample()
    height, width = sample["image"].shape[:2]
    sample["semantic"] = np.repeat([np.arange(width, dtype=np.uint8)], height, axis=0)
    moved = Augmentation(_shifted(libs, library))(sample, np.random.default_rng(0))
    np.testing.assert_array_equal(moved["semantic"][:, 5:], sample["semantic"][:, :-5])
    assert (moved["semantic"][:, :5] == 255).all()  # from beyond the image: not labeled
    assert moved["class_ids"].tolist() == [1, 2] and moved["boxes"].shape == (2, 4)


@pytest.mark.parametrize("library", ["imgaug", "albumentations"])
def test_a_mirror_swaps_left_and_right_joints(request, library):
    libs = request.getfixturevalue("iaa" if library == "imgaug" else "albumentations")
    mirror = libs.Fliplr(1.0) if library == "imgaug" else libs.HorizontalFlip(p=1.0)
    moved = Augmentation(mirror)(_sample(), np.random.default_rng(0), joint_order=(1, 0))
    np.testing.assert_array_equal(moved["boxes"], [[2, 20, 8, 26], [10, 2, 18, 10]])
    assert moved["keypoints"][0, :, 2].tolist() == [1, 2]
    np.testing.assert_allclose(moved["keypoints"][0, 1], [25, 3, 2], atol=1.01)  # 24 where pixels are points


@pytest.mark.parametrize("library", ["imgaug", "albumentations"])
def test_color_changes_the_image_only(request, library):
    libs = request.getfixturevalue("iaa" if library == "imgaug" else "albumentations")
    color = libs.Add(10) if library == "imgaug" else libs.RandomBrightnessContrast((0.2, 0.2), 0, p=1.0)
    sample = _sample()
    augmentation = Augmentation(color)
    moved = augmentation(sample, np.random.default_rng(0))
    assert not augmentation.moves and (moved["image"] != sample["image"]).any()
    assert moved["boxes"] is sample["boxes"] and moved["masks"] is sample["masks"]


@pytest.mark.parametrize("library", ["imgaug", "albumentations"])
def test_the_same_seed_gives_the_same_view(request, library):
    if library == "imgaug":
        iaa = request.getfixturevalue("iaa")
        chain = iaa.SomeOf((1, 2), [iaa.Affine(rotate=(-40, 40)), iaa.Multiply((0.5, 1.5)), iaa.Flipud(0.5)])
    else:
        a = request.getfixturevalue("albumentations")
        chain = a.Compose([a.Rotate(40, p=0.8), a.RandomBrightnessContrast(p=0.5), a.VerticalFlip(p=0.5)])
    one, two = Augmentation(chain), Augmentation(chain)
    views = [one(_sample(), np.random.default_rng(i)) for i in range(6)]
    again = [two(_sample(), np.random.default_rng(i)) for i in reversed(range(6))][::-1]
    for a, b in zip(views, again, strict=True):
        np.testing.assert_array_equal(a["image"], b["image"])
        np.testing.assert_array_equal(a["boxes"], b["boxes"])
    assert len({view["image"].tobytes() for view in views}) > 3


def test_no_objects_and_other_sources(iaa):
    sample = {k: v[:0] if k not in ("image",) else v for k, v in _sample().items()}
    moved = Augmentation(iaa.Fliplr(1.0))(sample, np.random.default_rng(0))
    assert moved["boxes"].shape == (0, 4) and moved["image"][0, 0, 1] == 29
    kept = Augmentation(iaa.Fliplr(1.0), except_sources=["plain"])(_sample(), np.random.default_rng(0), "plain")
    np.testing.assert_array_equal(kept["image"], _sample()["image"])


def test_objects_that_leave_the_image_are_dropped(iaa):
    moved = Augmentation(iaa.Affine(translate_px={"x": -15}))(_sample(), np.random.default_rng(0))
    assert moved["class_ids"].tolist() == [2] and len(moved["masks"]) == 1 and moved["keypoints"].shape == (1, 2, 3)


def test_what_is_not_safe_for_masks_is_refused_by_name(iaa):
    class Own(iaa.Augmenter):
        def _augment_batch_(self, batch, random_state, parents, hooks):
            return batch

        def get_parameters(self):
            return []

    for augmenter, name in (
        (iaa.Sequential([iaa.Fliplr(0.5), iaa.Jigsaw(2, 2)]), "Jigsaw"),
        (iaa.Lambda(lambda images, *_: images), "Lambda"),
        (iaa.WithChannels(0, iaa.Affine(rotate=20)), "Affine"),
        (iaa.Sometimes(0.5, iaa.Resize(0.5)), "Resize"),
        (Own(), "Own"),
        (7, "int"),
    ):
        with pytest.raises(ValueError, match=name):
            Augmentation(augmenter)
    with pytest.raises(ValueError, match=r"Crop.*size"):
        Augmentation(iaa.Crop(px=(2, 2, 2, 2), keep_size=False))(_sample(), np.random.default_rng(0))


def test_what_albumentations_cannot_do_to_masks_is_refused_by_name(albumentations):
    for transform, name in (
        (albumentations.Compose([albumentations.HorizontalFlip(), albumentations.Lambda()]), "Lambda"),
    ):
        with pytest.raises(ValueError, match=name):
            Augmentation(transform)
    with pytest.raises(ValueError, match="float32"):
        Augmentation(albumentations.Normalize(p=1.0))(_sample(), np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"RandomCrop.*\[8, 8, 3\]"):
        Augmentation(albumentations.RandomCrop(8, 8))(_sample(), np.random.default_rng(0))


def test_parameters_for_boxes_are_not_needed(albumentations):
    boxes = albumentations.BboxParams(format="coco", label_fields=["labels"])
    chain = albumentations.Compose([albumentations.VerticalFlip(p=1.0)], bbox_params=boxes)
    moved = Augmentation(chain)(_sample(), np.random.default_rng(0))
    np.testing.assert_array_equal(moved["boxes"], [[12, 4, 18, 10], [2, 20, 10, 28]])


def test_image_and_masks_alone(iaa):
    image, masks = np.arange(12, dtype=np.uint8).reshape(2, 2, 3), np.array([[[1], [0]], [[0], [0]]], bool)
    new_image, new_masks = augment(iaa.Sequential([iaa.Fliplr(1.0), iaa.Add(5)]), image, masks)
    np.testing.assert_array_equal(new_image, image[:, ::-1] + 5)
    np.testing.assert_array_equal(new_masks, masks[:, ::-1])
    assert new_masks.dtype == bool


@pytest.mark.parametrize("library", ["imgaug", "albumentations"])
def test_float_images_are_rounded_for_the_libraries(request, library):
    libs = request.getfixturevalue("iaa" if library == "imgaug" else "albumentations")
    sample = _sample()
    floating = sample | {"image": sample["image"] + np.float32(0.25)}
    color = libs.Invert(1.0) if library == "imgaug" else libs.InvertImg(p=1.0)
    for augmenter in (color, _shifted(libs, library)):
        expected, moved = (Augmentation(augmenter)(s, np.random.default_rng(0)) for s in (sample, floating))
        assert moved["image"].dtype == np.float32
        np.testing.assert_array_equal(moved["image"], expected["image"])
        np.testing.assert_array_equal(moved["boxes"], expected["boxes"])


def test_source_and_joints_may_come_with_the_sample(iaa):
    sample = _sample() | {"source": "plain", "joint_order": (1, 0)}
    kept = Augmentation(iaa.Fliplr(1.0), except_sources=["plain"])(sample, np.random.default_rng(0))
    assert kept is sample
    moved = Augmentation(iaa.Fliplr(1.0))(sample, np.random.default_rng(0))
    assert moved["keypoints"][0, :, 2].tolist() == [1, 2]


def test_a_component_is_an_augmentation_too(iaa):
    assert as_augmentation(RandomFlip(1.0))(_sample(), np.random.default_rng(0))["image"][0, 0, 1] == 29


def test_in_the_pipeline(iaa):
    data, config = (Blocks(), InputConfig(64, 64)), DataConfig(flip_horizontal=0.0, mask_side=28)
    plain = next(iter(mrcnn.make_pipeline(*data, config, 4, training=True, shuffle=False)))
    make = {"training": True, "shuffle": False, "augmentation": iaa.Fliplr(1.0)}
    mirrored = next(iter(mrcnn.make_pipeline(*data, config, 4, **make)))
    np.testing.assert_array_equal(mirrored["image"], np.asarray(plain["image"])[:, :, ::-1])
    expected = np.asarray(plain["gt_boxes"])[..., [0, 3, 2, 1]] * [1, -1, 1, -1] + [0, 64, 0, 64]
    valid = np.asarray(plain["gt_valid"])
    np.testing.assert_allclose(np.asarray(mirrored["gt_boxes"])[valid], expected[valid], atol=1.0)
    own = next(iter(mrcnn.make_pipeline(*data, config, 4, **(make | {"augmentation": lambda sample, rng: sample}))))
    np.testing.assert_array_equal(own["image"], plain["image"])
    still = next(iter(mrcnn.make_pipeline(*data, config, 4, training=False, augmentation=iaa.Fliplr(1.0))))
    np.testing.assert_array_equal(still["image"], plain["image"])


def test_imgaug_is_imported_only_when_it_is_wanted(iaa):
    code = (
        "import sys, mrcnn; before = [m for m in ('numpy', 'imgaug') if m in sys.modules];"
        "import imgaug; print(before, imgaug.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.startswith("[] 0."), done.stderr
