"""`ResultFormat`: the base class of the files that `Instances.save` and `mrcnn detect --save-as` write.

A format of results is one file: a subclass of `ResultFormat` in `mrcnn.results`, in an installed package that declares
it in the entry points `mrcnn.components`, or in any module that has been imported. Nothing lists them. Imports no
TensorFlow.
"""

from __future__ import annotations

import abc
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mrcnn import components
from mrcnn.errors import InputError
from mrcnn.files import atomic_write
from mrcnn.text import file_stem, printable

if TYPE_CHECKING:
    from mrcnn.structures.instances import Instances

_PACKAGE = "mrcnn.results"
_SHOWN = 5
_LONGEST_STEM = 200  # bytes; file systems take 255, suffix and temporary names included


@dataclasses.dataclass(frozen=True)
class Loss:
    """What a format cannot hold, or not wholly.

    Attributes:
        kind: "keypoints", "overlap", "score", "class", "mask", "crowd", "outputs", "empty", "map coordinates".
        message: what happens to it.
        image: its name or id.
        instance: its number in the image, from 1; None: all of them.
    """

    kind: str
    message: str
    image: str
    instance: int | None = None

    def __str__(self) -> str:
        return f"{self.image}{'' if self.instance is None else f', instance {self.instance}'}: {self.message}"


@dataclasses.dataclass(frozen=True)
class SavedResult:
    """What `Instances.save` wrote: the file, and a `Loss` for each thing that its format could not hold."""

    path: Path
    losses: tuple[Loss, ...]

    def __str__(self) -> str:
        if not self.losses:
            return f"{self.path}: nothing is lost"
        shown = "\n".join(f"  {loss}" for loss in self.losses[:_SHOWN])
        more = f"\n  and {len(self.losses) - _SHOWN} more" if len(self.losses) > _SHOWN else ""
        return f"{self.path}: {len(self.losses)} losses:\n{shown}{more}"


@dataclasses.dataclass
class ImageResult:
    """The instances of one image, and what files state beside them.

    Attributes:
        instances: in pixels of the image.
        image: path of the image file, named in files; None: there is none.
        image_id: for formats that number images.
        class_names: of the classes 1..C; None: "class_1", "class_2", ...
        category_ids: of the classes 1..C in the files of a data set; None: 1..C.
        losses: noted while the result is encoded.
    """

    instances: Instances
    image: Path | None = None
    image_id: int | str = 1
    class_names: Sequence[str] | None = None
    category_ids: Sequence[int] | None = None
    losses: list[Loss] = dataclasses.field(default_factory=list)

    @property
    def name(self) -> str:
        """Of the image's file, or its id."""
        return str(self.image_id) if self.image is None else self.image.name

    def class_name(self, class_id: int) -> str:
        """The name of a class 1..C.

        Raises:
            InputError: there are names, and none of this class.
        """
        if self.class_names is None:
            return f"class_{class_id}"
        if not 1 <= class_id <= len(self.class_names):
            raise InputError(f"{self.name}: class id {class_id}, expected 1..{len(self.class_names)}")
        return self.class_names[class_id - 1]

    def lost(self, kind: str, message: str, instance: int | None = None) -> None:
        """Note what the format cannot hold; `instance` counts from 0."""
        self.losses.append(Loss(kind, message, self.name, None if instance is None else instance + 1))

    def without(
        self,
        *,
        scores: bool = False,
        keypoints: bool = False,
        crowd: bool = False,
        classes: bool = False,
        outputs: bool = True,
    ) -> None:
        """Note what a format leaves out, of those instances that have it."""
        instances = self.instances
        if classes and len(set(instances.class_ids.tolist())) > 1:
            self.lost("class", "the classes are not written")
        if scores and instances.scores is not None and len(instances):
            self.lost("score", "the scores are not written")
        if keypoints and instances.keypoints is not None:
            for i, joints in enumerate(instances.keypoints):
                if (joints[:, 2] > 0).any():
                    self.lost("keypoints", "its keypoints are not written", i)
        if crowd and instances.is_crowd is not None:
            for i in instances.is_crowd.nonzero()[0].tolist():
                self.lost("crowd", "a crowd region, written as an object", i)
        if outputs and instances.rotated_boxes is not None and len(instances):
            self.lost("outputs", "the rotated boxes are not written")
        if outputs and len(instances):
            for name in instances.extra:
                self.lost("outputs", f"the output {name!r} is not written")


class ResultFormat(abc.ABC):
    """A format of results.

    Class attributes:
        name: for `Instances.save(format=...)`; unique.
        suffix: of its files.
        by_suffix: whether a path with the suffix, and no format given, means this one.
        joint: whether one file holds the results of all images; else each image has its own.
        holds: one phrase for people.
    """

    abstract: ClassVar[bool] = True
    name: ClassVar[str] = ""
    suffix: ClassVar[str] = ""
    by_suffix: ClassVar[bool] = True
    joint: ClassVar[bool] = False
    holds: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls.abstract = "abstract" in vars(cls) and cls.abstract

    @abc.abstractmethod
    def encode(self, result: ImageResult, path: Path) -> Any:
        """What the file holds of one image, small: results of many images wait for the end in this form.

        Args:
            result: of the image; notes what is lost.
            path: of the file, for names relative to it.
        """

    @abc.abstractmethod
    def write(self, parts: Sequence[Any], path: Path) -> None:
        """Write a file of what `encode` gave; of one image where the format is not `joint`."""


def result_formats() -> dict[str, ResultFormat]:
    """Every known format of results by its name.

    Raises:
        ComponentError: two formats share a name.

    Example:
        >>> sorted(result_formats())[:3]
        ['coco', 'csv', 'cvat']
    """
    return components.instances_of(ResultFormat, _PACKAGE, "formats of results")  # type: ignore[type-abstract]


def find_result_format(name: str | None, path: Path | None = None) -> ResultFormat:
    """The format of a name, or where there is none of a path's suffix.

    Raises:
        InputError: there is none; lists those there are.
    """
    known = result_formats()
    if name is None:
        suffix = "" if path is None else path.suffix.lower()
        for candidate in known.values():
            if candidate.by_suffix and candidate.suffix == suffix:
                return candidate
        endings = ", ".join(f"{f.suffix} ({name})" for name, f in known.items() if f.by_suffix)
        raise InputError(f"{path}: no format of results ends in {suffix!r}; there are {endings}; or give format=")
    if name not in known:
        raise InputError(f"no format of results {name!r}; there are {', '.join(known)}")
    return known[name]


def encode_strictly(chosen: ResultFormat, result: ImageResult, path: Path, strict: bool) -> Any:
    """`encode`, and with `strict` an error where the format cannot hold something.

    Raises:
        InputError: names the format and the first losses.
    """
    part = chosen.encode(result, path)
    if strict and result.losses:
        shown = "\n".join(str(loss) for loss in result.losses[:_SHOWN])
        raise InputError(f"{path}: {chosen.name} cannot hold {len(result.losses)} things:\n{shown}")
    return part


def save_result(
    result: ImageResult, path: str | os.PathLike[str], format: str | None = None, *, strict: bool = False
) -> SavedResult:
    """See `Instances.save`."""
    target = Path(path)
    chosen = find_result_format(format, target)
    part = encode_strictly(chosen, result, target, strict)
    with atomic_write(target) as temporary:
        chosen.write([part], temporary)
    return SavedResult(target, tuple(result.losses))


class ResultWriter:
    """Results of many images in files of several formats.

    A format whose file holds all images gives FOLDER/FORMAT/detections.SUFFIX, the others FOLDER/FORMAT/IMAGE.SUFFIX.
    Leaving the `with` block, by an error too, writes the files that hold all images added until then.

    Args:
        folder: made if it is absent; its folders of the formats must be free, nothing is replaced.
        formats: names of formats; see `Instances.save`.
        class_names, category_ids: of the classes 1..C; see `Instances.save`.
        strict: refuse an image of which a format cannot hold something.

    Attributes:
        losses: what the formats could not hold, by format.

    Raises:
        InputError: no such format; a folder of a format that is not empty.

    Example:
        >>> import tempfile
        >>> from mrcnn.structures.instances import Instances
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with ResultWriter(folder, ["csv", "yolo"]) as writer:
        ...         writer.add(Instances([[1, 2, 3, 7]], [1], (6, 8)), "a.jpg")
        ...     print(sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*.*")))
        ['csv/detections.csv', 'yolo/a.txt']
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        formats: Sequence[str],
        *,
        class_names: Sequence[str] | None = None,
        category_ids: Sequence[int] | None = None,
        strict: bool = False,
    ) -> None:
        self.class_names, self.category_ids, self.strict = class_names, category_ids, strict
        self.losses: dict[str, list[Loss]] = {}
        self._formats = {name: find_result_format(name) for name in dict.fromkeys(formats)}
        self._folders = {name: Path(folder) / name for name in self._formats}
        self._parts: dict[str, list[Any]] = {name: [] for name, chosen in self._formats.items() if chosen.joint}
        self._taken: set[str] = set()
        for name, place in self._folders.items():
            if place.is_file() or (place.is_dir() and any(place.iterdir())):
                raise InputError(f"{place}: is there already, expected a free name for the results as {name}")

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(self, *error: object) -> None:
        for name, parts in self._parts.items():
            if parts:
                chosen = self._formats[name]
                with atomic_write(self._joint_path(name)) as temporary:
                    chosen.write(parts, temporary)

    def add(self, instances: Instances, image: str | os.PathLike[str], image_id: int | str = 1) -> None:
        """Write the instances of an image, or keep them in the form of their file where that holds all images.

        Args:
            instances: of the image.
            image: path of its file.
            image_id: for COCO results.

        Raises:
            InputError: see `Instances.save`.
            FileError: a file cannot be written.
        """
        stem = self._free_stem(Path(image).stem)
        for name, chosen in self._formats.items():
            result = ImageResult(instances, Path(image), image_id, self.class_names, self.category_ids)
            path = self._joint_path(name) if chosen.joint else self._folders[name] / f"{stem}{chosen.suffix}"
            part = encode_strictly(chosen, result, path, self.strict)
            self.losses.setdefault(name, []).extend(result.losses)
            if chosen.joint:
                self._parts[name].append(part)
            else:
                with atomic_write(path) as temporary:
                    chosen.write([part], temporary)

    def _joint_path(self, name: str) -> Path:
        return self._folders[name] / f"detections{self._formats[name].suffix}"

    def _free_stem(self, wanted: str) -> str:
        """The image's own, for some programs find labels by it; differs from all others in more than case."""
        is_plain = printable(wanted) == wanted and len(os.fsencode(wanted)) <= _LONGEST_STEM
        base = stem = wanted if is_plain else file_stem(wanted, _LONGEST_STEM)
        number = 1
        while stem.lower() in self._taken:
            stem, number = f"{base}_{number}", number + 1
        self._taken.add(stem.lower())
        return stem
