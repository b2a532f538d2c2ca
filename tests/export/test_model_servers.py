from __future__ import annotations

import json
import os
import shutil

import pytest

from mrcnn.errors import InputError
from mrcnn.export.base import Exporter, get_exporter
from mrcnn.export.errors import ExportError
from mrcnn.export.model_servers import OvmsExporter, TritonExporter
from tests.blob_finder import BlobFinder

OVMS_KEYS = {
    "name": str, "base_path": str, "batch_size": (int, str), "model_version_policy": dict, "shape": (dict, str),
    "nireq": int, "target_device": str, "plugin_config": dict,
}  # fmt: skip
"""Of a model in OpenVINO Model Server's schema, which allows no others (src/schema.cpp); those of one model alone."""


class Note(Exporter):
    """Writes the number of classes."""

    abstract = True  # not to be found by other tests
    name = "note"
    suffix = ".note"

    def write(self, model, path, options):
        path.write_text(str(len(model.class_names)))

    def load(self, path):
        raise ExportError("broken")

    def export(self, model, path, options=None, **others):
        path.parent.mkdir(parents=True)
        if others["images"] == "broken":
            raise ExportError("not exported")
        self.write(model, path, options)
        return path


class Server(TritonExporter):
    abstract = True
    name = "note_server"
    file = "model.note"

    def exporter(self):
        return Note()


def parsed(text: str):
    """config.pbtxt by Triton's own protobuf."""
    model_config = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason="needs tritonclient[grpc]")
    from google.protobuf import text_format

    return text_format.Parse(text, model_config.ModelConfig())


def test_tritons_configuration_is_what_its_protobuf_says():
    config = parsed(TritonExporter().config_text(BlobFinder(), "cells"))
    assert (config.name, config.platform, config.max_batch_size) == ("cells", "onnxruntime_onnx", 0)
    assert [(t.name, t.data_type, list(t.dims)) for t in config.input] == [
        ("image", config.input[0].data_type, [1, -1, -1, 3]),
        ("content_shape", config.input[1].data_type, [1, 2]),
    ]
    outputs = {t.name: list(t.dims) for t in config.output}
    assert outputs["boxes"] == [-1, 4]
    assert outputs["scores"] == outputs["class_ids"] == [-1]
    assert outputs["masks"][0] == -1 and len(outputs["masks"]) == 3


def test_the_configuration_of_openvino_model_server_has_the_keys_of_its_schema():
    content = json.loads(OvmsExporter().config_text(BlobFinder(), "cells"))
    assert set(content) == {"model_config_list"}
    ((entry,),) = (content["model_config_list"],)
    assert set(entry) == {"config"}
    for key, value in entry["config"].items():
        assert isinstance(value, OVMS_KEYS[key]), key
    assert entry["config"]["base_path"] == "/models/cells"
    assert entry["config"]["plugin_config"]["INFERENCE_PRECISION_HINT"] == "f32"


def test_versions_count_up_and_the_configuration_stays(tmp_path):
    folder, model = tmp_path / "some cells", BlobFinder()
    assert Server().export(model, folder) == folder / "1"
    text = (folder / "config.pbtxt").read_text()
    assert 'name: "some_cells"' in text
    (folder / "config.pbtxt").write_text("mine")
    assert Server().export(model, folder) == folder / "2"
    assert (folder / "config.pbtxt").read_text() == "mine"
    assert sorted(os.listdir(folder)) == ["1", "2", "config.pbtxt"]
    assert (folder / "2/model.note").read_text() == str(len(model.class_names))


def test_a_failed_export_leaves_nothing(tmp_path):
    with pytest.raises(ExportError, match="not exported"):
        Server().export(BlobFinder(), tmp_path / "a/b", images="broken")
    assert os.listdir(tmp_path) == []
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: a file, expected a folder"):
        Server().export(BlobFinder(), tmp_path / "file")
    with pytest.raises(ExportError, match=r"no model\.note in it"):
        Server().load(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name, format", [("triton", "onnx"), ("ovms", "openvino")])
def test_a_version_is_a_file_of_the_other_exporter(model, exported_file, tmp_path, monkeypatch, name, format):
    source, exporter = exported_file(format), get_exporter(name)
    # What that exporter does is tested elsewhere and takes a minute.
    monkeypatch.setattr(
        type(exporter.exporter()),
        "export",
        lambda _, model, path, options=None, **others: shutil.copytree(source.parent, path.parent),
    )
    version = exporter.export(model, tmp_path / "cells")
    assert exporter.load(version).class_names == model.class_names
    if name == "triton":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(version / "model.onnx"), providers=["CPUExecutionProvider"])
        config = parsed((tmp_path / "cells/config.pbtxt").read_text())
        assert {t.name for t in config.input} == {t.name for t in session.get_inputs()}
        assert {t.name for t in config.output} == {t.name for t in session.get_outputs()}
