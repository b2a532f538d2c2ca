"""`Exporter`: the base class of the forms in which a trained model leaves this package.

An exporter is one file: a subclass of `Exporter` in this package, in an installed package that declares it in the entry
points `mrcnn.components`, or in any module that has been imported. Nothing lists them.
"""

from __future__ import annotations

import abc
import dataclasses
import difflib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

from mrcnn import components
from mrcnn.base_config import BaseConfig
from mrcnn.errors import InputError
from mrcnn.export.check import check_answers, expect_suffix
from mrcnn.export.compare import ACCEPTED, Difference
from mrcnn.inference import ImageLike
from mrcnn.modeling.precision import in_precision


@dataclasses.dataclass(frozen=True)
class ExportOptions(BaseConfig):
    """What can be chosen about an export; an exporter with choices has a subclass, each field with a default."""


class Exporter(abc.ABC):
    """A format to export to: how a model is written, and how the file is loaded for `detect`.

    Class attributes:
        name: for `get_exporter` and `mrcnn export --format`; unique.
        suffix: what names of its files end in, such as ".onnx"; "" for a folder.
        summary: one phrase for help texts.
        options: class of its options.
    """

    abstract: ClassVar[bool] = True
    name: ClassVar[str] = ""
    suffix: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    options: ClassVar[type[ExportOptions]] = ExportOptions

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls.abstract = "abstract" in vars(cls) and cls.abstract

    @abc.abstractmethod
    def write(self, model: Any, path: Path, options: ExportOptions) -> None:
        """Write the files of a model.

        Args:
            model: a `MaskRCNN`.
            path: of the file, in an empty temporary folder; what else `files` names goes beside it.
            options: of the exporter's class of options.

        Raises:
            ExportError: a package is missing, or the format cannot hold the model.
        """

    @abc.abstractmethod
    def load(self, path: str | os.PathLike[str]) -> Any:
        """The model of a file, for `mrcnn.detect` and `mrcnn.evaluate`; a `PortableModel` or what is called like one.

        Raises:
            ExportError: the file is not there, cannot be read or is no such model; names the file.
        """

    def files(self, path: Path) -> tuple[Path, ...]:
        """All files of an export, the one at `path` last."""
        return (path,)

    def path_in(self, folder: Path) -> Path:
        """Where in a folder the command line puts an export."""
        return folder / f"model{self.suffix}"

    def accepted(self, options: ExportOptions) -> Difference:
        """Largest differences from the model's detections, unless the caller gives others."""
        return ACCEPTED

    def compared_on(self, options: ExportOptions) -> Iterable[ImageLike] | None:
        """Images to compare detections on, unless the caller gives others; None: noise."""
        return None

    @property
    def runtime(self) -> str:
        """Name of what runs the files, for messages."""
        return "the runtime"

    def export(
        self,
        model: Any,
        path: str | os.PathLike[str],
        options: ExportOptions | None = None,
        *,
        images: Iterable[ImageLike] | None = None,
        max_difference: Difference | None = None,
        log: Callable[[str], None] | None = None,
    ) -> Path:
        """Write a model, load what was written, compare its detections with the model's, and only then rename it.

        Args:
            model: a `MaskRCNN`.
            path: the file to write, ending in `suffix`; replaced if it is there. Its folder is made.
            options: of class `options`; None: their defaults.
            images: to compare on; None: `compared_on`.
            max_difference: largest differences accepted; None: `accepted`.
            log: called with the comparison's result; None: silent.

        Returns:
            the path.

        Raises:
            ExportError: see `write`; or the detections differ too much. Nothing is left behind.
            InputError: another suffix, or options of another exporter.
        """
        path, options = expect_suffix(path, self.suffix), self.expect_options(options)
        images = self.compared_on(options) if images is None else images
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.stem[:40]}.", dir=path.parent))
        try:
            part = temporary / path.name
            bounds = max_difference or self.accepted(options)
            with in_precision(model, "float32"):  # what the file is run in is chosen where it is loaded
                self.write(model, part, options)
                difference = check_answers(model, self.load(part), images, bounds, self.runtime)
            for file in self.files(path):
                os.replace(temporary / file.name, file)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        if log is not None:
            log(str(difference))
        return path

    def expect_options(self, options: ExportOptions | None) -> ExportOptions:
        """The options, or their defaults.

        Raises:
            InputError: they are another exporter's.
        """
        if options is None:
            return self.options()
        if not isinstance(options, self.options):
            raise InputError(f"options: expected {self.options.__name__} for {self.name}, got {type(options).__name__}")
        return options


def exporters() -> dict[str, Exporter]:
    """Every known exporter by its name.

    Raises:
        ComponentError: two share a name.
    """
    return components.instances_of(Exporter, __package__, "exporters")  # type: ignore[type-abstract]


def exporter_names() -> tuple[str, ...]:
    """Names of all known exporters.

    Example:
        >>> {"onnx", "openvino", "savedmodel", "tflite"} <= set(exporter_names())
        True
    """
    return tuple(exporters())


def get_exporter(name: str) -> Exporter:
    """The exporter of a name, or of "module:Class".

    Raises:
        ComponentError: there is none; lists those there are.

    Example:
        >>> get_exporter("onnx").suffix
        '.onnx'
    """
    known = exporters()
    if name in known:
        return known[name]
    for exporter in known.values():
        if components.name_of(type(exporter)) == name:
            return exporter
    if ":" not in name:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise components.ComponentError(f"no exporter {name!r}, there are {', '.join(known)}{hint}")
    return components.find_class(name, Exporter, __package__, "exporter")()  # type: ignore[type-abstract]
