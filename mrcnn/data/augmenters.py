"""Augmenters of imgaug and Albumentations on samples: geometry for image, masks and joints, color for images.

    import imgaug.augmenters as iaa
    batches = mrcnn.make_pipeline(dataset, model, training=True, augmentation=iaa.Affine(rotate=(-10, 10)))

Augmenters that are known to leave pixels in place change the image only; those that are known to move pixels move
image, masks and joints together. Any other is refused by name, for masks might no longer match their objects. Neither
library is imported unless one of its augmenters is given.
"""

from __future__ import annotations

import copy
import functools
import os
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from mrcnn.data.augmentations.base import AugmentationConfig
from mrcnn.data.transforms import Sample, full_frame_masks, select
from mrcnn.errors import InputError
from mrcnn.structures.panoptic import IGNORED

Moved = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Image u8[h, w, c], masks u8[h, w, n] of 0 and 1, points f32[m, 2] as (x, y)."""

# Classes of imgaug by name; a subclass of imgaug's own counts as its nearest parent in these lists.
_GROUPS = ("Sequential", "SomeOf", "OneOf", "Sometimes", "RandAugment")
_GEOMETRY = (
    "Fliplr", "Flipud", "CropAndPad", "Affine", "AffineCv2", "PiecewiseAffine", "Rot90", "PerspectiveTransform",
    "ElasticTransformation",
)  # fmt: skip
_COLOR_MODULES = (
    "arithmetic", "artistic", "blend", "blur", "color", "contrast", "convolutional", "edges", "imgcorruptlike",
    "pillike", "pooling", "segmentation", "weather",
)  # fmt: skip
_NEUTRAL = ("Identity", "Noop", "AssertShape", "ChannelShuffle", "WithChannels")


class Augmentation:
    """An augmenter as a function from sample to sample, for `make_pipeline`; may be called from several threads.

    Boxes of moved objects become the bounding boxes of their masks. Objects of which nothing is left are dropped, and
    joints that left the image become unlabeled. A mirror exchanges left and right joints. Both libraries want bytes: an
    image in float32 is rounded to gray levels for them.

    Args:
        augmenter: of imgaug or Albumentations, single or composed; or a list of them.
        except_sources: images of these sources (`ImageRecord.source`) are left as they are.

    Raises:
        InputError: something in it is not known to be safe for masks; names it.
    """

    def __init__(self, augmenter: Any, except_sources: Sequence[str] = ()) -> None:
        self.augmenter = augmenter
        self.except_sources = frozenset(except_sources or ())
        self.moves = moves_pixels(augmenter)
        self._own = threading.local()

    def __call__(
        self,
        sample: Sample,
        rng: np.random.Generator,
        source: str | None = None,
        joint_order: Sequence[int] | None = None,
    ) -> Sample:
        """One random view of a sample; see `transforms` for its fields.

        Args:
            sample: image and objects.
            rng: of the augmenter's seed.
            source, joint_order: default: those of the sample.

        Raises:
            InputError: the augmenter changed the size or the dtype of the image.
        """
        seed = int(rng.integers(2**31 - 1))
        if (sample.get("source", "") if source is None else source) in self.except_sources:
            return sample
        joint_order = sample.get("joint_order") if joint_order is None else joint_order
        apply = getattr(self._own, "apply", None)
        if apply is None:
            apply = self._own.apply = _applier(copy.deepcopy(self.augmenter))
        dtype = sample["image"].dtype
        image = sample["image"] if dtype == np.uint8 else np.clip(np.rint(sample["image"]), 0, 255).astype(np.uint8)
        image = np.ascontiguousarray(image)
        height, width = image.shape[:2]
        if not self.moves:
            none = np.zeros((height, width, 0), np.uint8)
            return sample | {"image": apply(image, none, np.zeros((0, 2), np.float32), seed)[0].astype(dtype)}
        masks = np.moveaxis(full_frame_masks(sample), 0, -1)
        if "semantic" in sample:  # counted backwards: what comes from beyond the image is 0, and then not labeled
            masks = np.concatenate([masks, IGNORED - sample["semantic"][..., np.newaxis]], axis=-1)
        masks = np.ascontiguousarray(masks)
        joints = sample.get("keypoints", np.zeros((len(sample["boxes"]), 0, 3), np.float32))
        corners = np.array([[0, 0], [width, 0], [0, height]], np.float32)
        points = np.concatenate([corners, joints[..., :2].reshape(-1, 2)])
        image, masks, points = apply(image, masks, points, seed)
        if "semantic" in sample:
            sample = sample | {"semantic": IGNORED - masks[..., -1]}
            masks = masks[..., :-1]
        result = _with_masks(sample | {"image": image.astype(dtype)}, masks)
        if "keypoints" in sample:
            (ox, oy), (ax, ay), (bx, by) = points[:3]
            mirrored = (ax - ox) * (by - oy) < (ay - oy) * (bx - ox)
            result["keypoints"] = _joints(joints, points[3:], image.shape, joint_order if mirrored else None)
        kept = np.flatnonzero((result["boxes"][:, 2:] > result["boxes"][:, :2]).all(axis=1))
        return result if len(kept) == masks.shape[-1] else select(result, kept)


def as_augmentation(augmenter: Any) -> Callable[[Sample, np.random.Generator], Sample]:
    """The `augmentation` argument of `make_pipeline` as a function on samples.

    Args:
        augmenter: a function (sample, rng) -> sample, an `AugmentationConfig`, or as for `Augmentation`.

    Raises:
        InputError: as `Augmentation`.
    """
    if isinstance(augmenter, AugmentationConfig):
        return augmenter.apply
    is_function = isinstance(augmenter, (types.FunctionType, types.MethodType, functools.partial))
    return augmenter if is_function or isinstance(augmenter, Augmentation) else Augmentation(augmenter)


def augment(augmenter: Any, image: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One random view of an image and its masks, from the augmenter's own random state.

    Args:
        augmenter: as for `Augmentation`.
        image: u8[h, w, c].
        masks: [h, w, n], 0 or 1.

    Returns:
        u8[h, w, c] and bool[h, w, n].

    Raises:
        InputError: as `Augmentation`.
    """
    moves_pixels(augmenter)
    image, masks, _ = _applier(augmenter)(
        np.ascontiguousarray(image), np.ascontiguousarray(masks).astype(np.uint8), np.zeros((0, 2), np.float32), None
    )
    return image, masks.astype(bool)


def moves_pixels(augmenter: Any) -> bool:
    """Whether an augmenter moves pixels.

    Raises:
        InputError: something in it is not known to be safe for masks; names it.
    """
    parts = list(augmenter) if type(augmenter) in (list, tuple) else [augmenter]
    moves = [_is_geometry(part, False) if _library(part) == "imgaug" else _is_dual(part) for part in parts]
    return any(moves)


def _library(augmenter: Any) -> str:
    for parent in type(augmenter).__mro__:
        name = parent.__module__.partition(".")[0]
        if name in ("imgaug", "albumentations"):
            return name
    raise InputError(
        f"augmentation: expected an augmenter of imgaug or Albumentations, got {type(augmenter).__name__!r}"
    )


def _refuse(name: str, why: str) -> None:
    raise InputError(f"augmentation: {name} is not safe for masks: {why}")


def _applier(augmenter: Any) -> Callable[[np.ndarray, np.ndarray, np.ndarray, int | None], Moved]:
    """The augmenter as a checked function of image, masks, points and a seed (None: its own random state)."""
    first = augmenter[0] if type(augmenter) in (list, tuple) else augmenter
    run = (_imgaug if _library(first) == "imgaug" else _albumentations)(augmenter)

    def apply(image: np.ndarray, masks: np.ndarray, points: np.ndarray, seed: int | None) -> Moved:
        new_image, new_masks, new_points = run(image, masks, points, seed)
        if new_image.shape != image.shape or new_image.dtype != image.dtype:
            raise InputError(
                f"augmentation: {type(first).__name__} made {new_image.dtype}{list(new_image.shape)} of an image "
                f"{image.dtype}{list(image.shape)}; size and dtype must stay"
            )
        return new_image, new_masks, new_points

    return apply


def _with_masks(sample: Sample, masks: np.ndarray) -> Sample:
    """The sample with masks u8[h, w, n] in place of its own and their bounding boxes; zeros for an empty mask."""
    boxes, grids = np.zeros((masks.shape[-1], 4), np.float32), []
    for i, box in enumerate(boxes):
        rows, columns = np.flatnonzero(masks[..., i].any(axis=1)), np.flatnonzero(masks[..., i].any(axis=0))
        if rows.size:
            box[:] = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
        y1, x1, y2, x2 = box.astype(int)
        grids.append(masks[y1:y2, x1:x2, i] * np.uint8(255))
    return sample | {"boxes": boxes, "windows": boxes.copy(), "masks": grids}


def _joints(joints: np.ndarray, points: np.ndarray, shape: Sequence[int], order: Sequence[int] | None) -> np.ndarray:
    points = points.reshape(*joints.shape[:2], 2)
    inside = (points >= 0).all(-1) & (points[..., 0] < shape[1]) & (points[..., 1] < shape[0]) & (joints[..., 2] > 0)
    moved = np.where(inside[..., None], np.concatenate([points, joints[..., 2:]], -1), 0).astype(np.float32)
    return moved if order is None else moved[:, np.asarray(order, np.intp)]


# imgaug


def _is_geometry(augmenter: Any, color_only: bool) -> bool:
    kind = type(augmenter)
    name = kind.__name__
    own = next(parent for parent in kind.__mro__ if parent.__module__.startswith("imgaug."))
    names = [parent.__name__ for parent in own.__mro__]
    if kind is not own and any(k.startswith(("_augment", "augment")) for k in vars(kind)):
        _refuse(name, "a class of your own may move pixels; write a function (sample, rng) -> sample instead")
    children = [child for group in augmenter.get_children_lists() for child in group]
    if any(n in _GEOMETRY for n in names):
        if color_only:
            _refuse(name, "it moves some channels or some places only")
        if any(_changes_size(n) for n in names[:1]):
            _refuse(name, "it changes the size of images")
        return True
    if any(n in _GROUPS for n in names):
        moves = [_is_geometry(child, color_only) for child in children]  # a list: each is checked
        return any(moves)
    if own.__module__.rpartition(".")[2] in _COLOR_MODULES or any(n in _NEUTRAL for n in names):
        for child in children:
            _is_geometry(child, True)
        return False
    _refuse(name, f"use one of {', '.join(_GEOMETRY)}, a change of color, or {', '.join(_GROUPS[:4])}")
    return False


def _changes_size(name: str) -> bool:
    return name.startswith(("CenterCrop", "CenterPad")) or name.endswith(("FixedSize", "MultiplesOf", "AspectRatio"))


def _imgaug(augmenter: Any) -> Callable[..., Moved]:
    import imgaug
    from imgaug.augmentables import Keypoint, KeypointsOnImage, SegmentationMapsOnImage

    if type(augmenter) in (list, tuple):
        augmenter = imgaug.augmenters.Sequential(list(augmenter))

    def run(image: np.ndarray, masks: np.ndarray, points: np.ndarray, seed: int | None) -> Moved:
        if seed is not None:
            augmenter.seed_(seed)
        fixed = augmenter.to_deterministic()
        new_image = fixed.augment_image(image)
        if new_image.shape != image.shape:
            return new_image, masks, points
        if masks.shape[-1]:
            maps = SegmentationMapsOnImage(masks.astype(np.int32), shape=image.shape)
            masks = fixed.augment_segmentation_maps(maps).get_arr().astype(np.uint8)
        if len(points):
            moved = fixed.augment_keypoints(KeypointsOnImage([Keypoint(x, y) for x, y in points], shape=image.shape))
            points = moved.to_xy_array().astype(np.float32)
        return new_image, masks, points

    return run


# Albumentations


def _library_albumentations() -> Any:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask its server for a newer version
    import albumentations

    return albumentations


def _leaves(transform: Any) -> Iterator[Any]:
    if hasattr(transform, "transforms"):
        for part in transform.transforms:
            yield from _leaves(part)
    else:
        yield transform


def _is_dual(transform: Any) -> bool:
    """Whether a transform moves pixels."""
    library = _library_albumentations()
    moves = False
    for leaf in _leaves(transform):
        name = type(leaf).__name__
        if isinstance(leaf, library.ImageOnlyTransform):
            continue
        targets = {str(getattr(target, "value", target)).lower() for target in getattr(leaf, "_targets", ())}
        if not isinstance(leaf, library.DualTransform) or "mask" not in targets or name == "Lambda":
            _refuse(name, "of Albumentations' transforms those for images only and those for images and masks are")
        moves = moves or name not in ("NoOp", "Identity")
    return moves


def _albumentations(transform: Any) -> Callable[..., Moved]:
    library = _library_albumentations()
    parts, chance = transform if type(transform) in (list, tuple) else [transform], 1.0
    if isinstance(transform, library.Compose):
        # Its own parameters for boxes would ask for boxes, which are made of the masks here.
        parts, chance = transform.transforms, transform.p
    points_as = library.KeypointParams(format="xy", remove_invisible=False)
    compose = library.Compose(list(parts), p=chance, keypoint_params=points_as)

    def run(image: np.ndarray, masks: np.ndarray, points: np.ndarray, seed: int | None) -> Moved:
        if seed is not None:
            compose.set_random_seed(seed)
        extra = {"masks": list(np.moveaxis(masks, -1, 0).copy())} if masks.shape[-1] else {}
        made = compose(image=image, keypoints=points, **extra)
        if extra:
            masks = np.stack(list(made["masks"]), axis=-1)
        return made["image"], masks, np.asarray(made["keypoints"], np.float32).reshape(-1, 2)

    return run
