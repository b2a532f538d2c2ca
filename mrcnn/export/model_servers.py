"""Folders that Triton and OpenVINO Model Server load: the versions of a model, and the configuration they read.

Ref: Triton Inference Server, model_config.proto and "Model Repository"; OpenVINO Model Server, "Starting with a
configuration file".
"""

from __future__ import annotations

import abc
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mrcnn.errors import InputError
from mrcnn.export.base import Exporter, ExportOptions
from mrcnn.export.compare import Difference
from mrcnn.export.errors import ExportError
from mrcnn.export.onnx import OnnxExporter
from mrcnn.export.openvino import OpenVinoExporter, OpenVinoOptions, compile_options
from mrcnn.export.tf_serving import serving_name
from mrcnn.export.versions import make_folder, move
from mrcnn.files import atomic_write
from mrcnn.inference import ImageLike

_TYPES = {"uint8": "TYPE_UINT8", "int32": "TYPE_INT32", "float32": "TYPE_FP32", "bool": "TYPE_BOOL"}


class ServerExporter(Exporter):
    """A file of another exporter as a version in a folder, with the server's configuration beside the versions.

    Class attributes:
        file: name of the file in a version's folder.
        config_file: name of the configuration.
    """

    abstract = True
    file: str
    config_file: str

    @abc.abstractmethod
    def exporter(self) -> Exporter:
        """What writes the file."""

    @abc.abstractmethod
    def config_text(self, model: Any, name: str) -> str:
        """The configuration for a model of this name."""

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
        """Write the next version, PATH/1, PATH/2, ...; the configuration is written once and yours to change.

        Arguments as for `Exporter.export`; `path` is of the folder, whose name is the model's.

        Returns:
            the path of the version.

        Raises:
            ExportError, InputError: see `Exporter.export`; or `path` is a file. Nothing is left behind.
        """
        options = self.expect_options(options)
        path = Path(path)
        if path.exists() and not path.is_dir():
            raise InputError(f"{path}: a file, expected a folder for the versions of a model")
        made = make_folder(path)
        temporary = Path(tempfile.mkdtemp(prefix=".export.", dir=path))
        try:
            folder = temporary / "model"
            self.exporter().export(
                model, folder / self.file, options, images=images, max_difference=max_difference, log=log
            )
            version = move(folder, path, None)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            for folder in made:
                if not any(folder.iterdir()):
                    folder.rmdir()
            raise
        shutil.rmtree(temporary, ignore_errors=True)
        if not (path / self.config_file).exists():
            with atomic_write(path / self.config_file) as part:
                part.write_text(self.config_text(model, serving_name(path)), encoding="utf-8")
        return version

    def write(self, model: Any, path: Path, options: ExportOptions) -> None:
        """Not used: a version is moved into a folder that others lie in."""
        raise NotImplementedError

    def load(self, path: str | os.PathLike[str]) -> Any:
        """The model of a version's folder.

        Raises:
            ExportError: see `Exporter.load`.
        """
        if not (Path(path) / self.file).is_file():
            raise ExportError(f"{os.fspath(path)}: no {self.file} in it, expected the folder of a version")
        return self.exporter().load(Path(path) / self.file)

    def path_in(self, folder: Path) -> Path:
        """The folder itself."""
        return folder


class TritonExporter(ServerExporter):
    """A folder of a Triton model repository, run by its ONNX Runtime backend."""

    name = "triton"
    summary = "a folder for Triton Inference Server (ONNX)"
    file, config_file = "model.onnx", "config.pbtxt"

    def exporter(self) -> Exporter:
        return OnnxExporter()

    def config_text(self, model: Any, name: str) -> str:
        """config.pbtxt: one image a request, of any size, so that Triton has no dimension to batch along."""
        dtype = model.config.input.image_dtype.as_numpy_dtype.__name__
        inputs = [("image", dtype, (1, None, None, 3)), ("content_shape", "int32", (1, 2))]
        rows: list[tuple[str, str, tuple[int | None, ...]]] = [
            ("boxes", "float32", (4,)),
            ("class_ids", "int32", ()),
            ("scores", "float32", ()),
            *((output.name, output.dtype, output.shape) for output in model.config.outputs if output.exported),
        ]
        outputs = [(name, dtype, (None, *shape)) for name, dtype, shape in rows]
        return (
            f"# tritonserver --model-repository=/models, this folder being /models/{name}\n"
            f'name: "{name}"\nplatform: "onnxruntime_onnx"\nmax_batch_size: 0\n'
            "version_policy { latest { num_versions: 1 } }\n"
            + "".join(_tensor("input", *tensor) for tensor in inputs)
            + "".join(_tensor("output", *tensor) for tensor in outputs)
        )


def _tensor(kind: str, name: str, dtype: str, shape: tuple[int | None, ...]) -> str:
    dims = ", ".join("-1" if side is None else str(side) for side in shape)
    return f'{kind} {{ name: "{name}" data_type: {_TYPES[dtype]} dims: [ {dims} ] }}\n'


class OvmsExporter(ServerExporter):
    """A folder that OpenVINO Model Server loads."""

    name = "ovms"
    summary = "a folder for OpenVINO Model Server"
    options = OpenVinoOptions
    file, config_file = "model.xml", "config.json"

    def exporter(self) -> Exporter:
        return OpenVinoExporter()

    def config_text(self, model: Any, name: str) -> str:
        """config.json: in float32, which OpenVINO does not choose by itself on CPUs with bfloat16."""
        config = {"name": name, "base_path": f"/models/{name}", "plugin_config": compile_options()}
        return json.dumps({"model_config_list": [{"config": config}]}, indent=2) + "\n"
