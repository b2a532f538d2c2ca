"""What all exporters share, by one that writes a text file."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from mrcnn import components
from mrcnn.base_config import ConfigError
from mrcnn.errors import InputError
from mrcnn.export import Difference, Exporter, ExportError, ExportOptions, exporter_names, exporters, get_exporter
from mrcnn.export.saved_model import SavedModelOptions
from mrcnn.export.tflite import INT8_ACCEPTED, TFLiteOptions
from tests.tiny_model import noise_images, tiny_model


@dataclasses.dataclass(frozen=True)
class TextOptions(ExportOptions):
    text: str = "here"


class Text(Exporter):
    """Writes a text and a second file; "loads" the model it was made with."""

    abstract = True  # known to nobody else's test
    name = "text"
    suffix = ".txt"
    options = TextOptions

    def __init__(self, loaded):
        self.loaded = loaded

    def write(self, model, path, options):
        assert list(path.parent.iterdir()) == []
        path.write_text(options.text)
        path.with_suffix(".extra").write_text("more")

    def load(self, path):
        assert Path(path).with_suffix(".extra").read_text() == "more"
        if isinstance(self.loaded, Exception):
            raise self.loaded
        return self.loaded

    def files(self, path):
        return path.with_suffix(".extra"), path


def test_the_files_get_their_names_after_the_comparison(model, tmp_path):
    said = []
    path = tmp_path / "new" / "model.txt"
    assert Text(model).export(model, path, TextOptions("x"), images=noise_images(1), log=said.append) == path
    assert path.read_text() == "x"
    assert sorted(os.listdir(path.parent)) == ["model.extra", "model.txt"]
    assert len(said) == 1 and "scores differ by at most 0.0e+00" in said[0]


@pytest.mark.parametrize("failing", ["answers", "load"])
def test_what_fails_leaves_what_was_there(model, tmp_path, failing):
    path = tmp_path / "model.txt"
    path.write_text("before")
    exporter = Text(tiny_model(seed=1) if failing == "answers" else ExportError("cannot load it"))
    with pytest.raises(ExportError, match="detections differ too much" if failing == "answers" else "cannot load it"):
        exporter.export(model, path, images=noise_images(1), max_difference=Difference())
    assert os.listdir(tmp_path) == ["model.txt"]
    assert path.read_text() == "before"


def test_another_suffix_and_other_options_are_refused(model, tmp_path):
    exporter = Text(model)
    with pytest.raises(InputError, match=r"model\.pt: expected a file name that ends in \.txt"):
        exporter.export(model, tmp_path / "model.pt")
    with pytest.raises(InputError, match="options: expected TextOptions for text, got TFLiteOptions"):
        exporter.export(model, tmp_path / "model.txt", TFLiteOptions())
    assert os.listdir(tmp_path) == []


def test_the_built_in_exporters_are_found_by_name():
    assert set(exporter_names()) >= {"onnx", "openvino", "savedmodel", "tflite"}
    for name, exporter in exporters().items():
        if not type(exporter).__module__.startswith("mrcnn."):  # of a test that ran before
            continue
        assert get_exporter(name).name == exporter.name == name
        assert exporter.summary
        assert exporter.options() == exporter.options.from_dict({})


@pytest.mark.parametrize(
    "name, files",
    [("onnx", ["model.onnx"]), ("openvino", ["model.bin", "model.xml"]), ("tflite", ["model.tflite"]),
     ("savedmodel", ["out"])],
)  # fmt: skip
def test_the_command_line_asks_which_files_there_will_be(name, files):
    exporter = get_exporter(name)
    assert [file.name for file in exporter.files(exporter.path_in(Path("out")))] == files


def test_a_name_that_is_none_lists_those_there_are():
    with pytest.raises(components.ComponentError, match=r"no exporter 'onx', there are .*onnx.*did you mean 'onnx'"):
        get_exporter("onx")
    with pytest.raises(components.ComponentError, match=r"the module 'mine\.exporter' is not imported"):
        get_exporter("mine.exporter:Other")


def test_options_are_checked_field_by_field():
    assert get_exporter("tflite").accepted(TFLiteOptions(int8=True)) == INT8_ACCEPTED
    with pytest.raises(ConfigError, match="ExportOptions has no field 'int8'"):
        get_exporter("onnx").options.from_dict({"int8": True})
    with pytest.raises(ConfigError, match="masks: expected one of 'small', 'full', 'packed', got 'large'"):
        SavedModelOptions.from_dict({"masks": "large"})


def test_a_saved_model_says_how_it_is_loaded():
    with pytest.raises(ExportError, match=r"served/1: a SavedModel is run by TensorFlow alone"):
        get_exporter("savedmodel").load("served/1")
