from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import tensorflow as tf

from mrcnn.export import export_saved_model
from mrcnn.inference import detect
from mrcnn.modeling.input import InputConfig
from mrcnn.ops.masks import paste_masks
from tests.blob_finder import BlobFinder, mixed_pictures, picture
from tests.tiny_model import blank_picture, noise_pictures, tiny_model

# What no stock TensorFlow serving binary can run, or what reaches back into this process
FOREIGN = {"PyFunc", "PyFuncStateless", "EagerPyFunc", "PyCall"}

RELOAD = textwrap.dedent(
    """
    import sys
    import numpy as np, tensorflow as tf
    serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
    pictures, results = np.load(sys.argv[2]), {}
    for name in pictures:
        for key, value in serve(image=tf.constant(pictures[name][None])).items():
            results[f"{name} {key}"] = value.numpy()[0]
    np.savez(sys.argv[3], **results)
    assert not [m for m in sys.modules if m.split(".")[0] == "mrcnn"], "the package was imported"
    """
)


def run_elsewhere(path, pictures, tmp_path):
    """The SavedModel's answers from a process that does not know the package, by name for each picture."""
    np.savez(tmp_path / "pictures.npz", *pictures)
    command = [sys.executable, "-c", RELOAD, str(path), str(tmp_path / "pictures.npz"), str(tmp_path / "results.npz")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    results = np.load(tmp_path / "results.npz")
    names = {key.split()[1] for key in results}
    return [{name: results[f"arr_{i} {name}"] for name in names} for i in range(len(pictures))]


def expect_same(served, found, tolerance=1e-4):
    num = int(served["num_detections"])
    assert num == len(found) == served["valid"].sum()
    assert served["valid"][:num].all()
    assert np.array_equal(served["class_ids"][:num], found.class_ids)
    np.testing.assert_allclose(served["scores"][:num], found.scores, atol=tolerance)
    np.testing.assert_allclose(served["boxes"][:num], found.boxes, atol=tolerance)
    masks = paste_masks(served["masks"][:num], served["boxes"][:num], *found.image_shape)
    assert (masks != found.masks).sum() <= 1e-4 * masks.size


def operations(path):
    """Names of all operations of a SavedModel, its library functions included."""
    from tensorflow.core.protobuf import saved_model_pb2

    graph = saved_model_pb2.SavedModel()
    graph.ParseFromString((path / "saved_model.pb").read_bytes())
    (meta,) = graph.meta_graphs
    nodes = list(meta.graph_def.node)
    functions = {f.signature.name for f in meta.graph_def.library.function}
    for function in meta.graph_def.library.function:
        nodes += function.node_def
    return {node.op for node in nodes} - functions


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    model = BlobFinder()
    path = tmp_path_factory.mktemp("export") / "model"
    assert export_saved_model(model, path) == path
    return model, path


def test_reloaded_elsewhere_it_answers_as_here(exported, tmp_path):
    model, path = exported
    pictures = [picture(50, 70), picture(7, 33, (0, 0, 0, 7, 33)), *mixed_pictures(6)]
    answers = run_elsewhere(path, pictures, tmp_path)
    for served, found in zip(answers, detect(model, pictures), strict=True):
        expect_same(served, found)
    assert answers[0]["num_detections"] == 0
    assert not answers[0]["valid"].any()


OTHERS = {
    "torchvision": {"rounding": "floor", "interpolation": "linear"},
    "matterport": {
        "rounding": "half_even",
        "never_shrink_for_short": True,
        "interpolation": "linear_black_u8",
        "canvas": "square",
        "padding": "centre",
        "end_offset": -1.0,
        "whole_pixels": True,
    },
}


@pytest.mark.parametrize("rules", OTHERS.values(), ids=OTHERS)
def test_other_conventions_answer_as_here(tmp_path, rules):
    model = BlobFinder(**rules)
    serve = tf.saved_model.load(str(export_saved_model(model, tmp_path / "model"))).signatures["serving_default"]
    for pixels in (picture(7, 33, (0, 0, 0, 7, 33)), picture(200, 90, (1, 30, 20, 80, 70)), *mixed_pictures(3)):
        served = {name: value.numpy()[0] for name, value in serve(image=tf.constant(pixels[None])).items()}
        expect_same(served, detect(model, pixels)[0])


def test_a_batch_of_pictures(exported):
    model, path = exported
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    pictures = np.stack([picture(90, 60, (c, 5, 5, 30, 40)) for c in (2, 0, 1)])
    served = {name: value.numpy() for name, value in serve(image=tf.constant(pictures)).items()}
    for i, found in enumerate(detect(model, pictures)):
        expect_same({name: value[i] for name, value in served.items()}, found)


def test_detections_come_first_in_their_slots(exported):
    # The middle one of three channels is dark, so the model's own second slot is empty
    _, path = exported
    serve = tf.saved_model.load(str(path)).signatures["serving_default"]
    served = serve(image=tf.constant(picture(64, 64, (0, 5, 5, 9, 9), (2, 20, 20, 40, 40))[None]))
    assert served["num_detections"].numpy().tolist() == [2]
    assert served["class_ids"].numpy()[0, :2].tolist() == [1, 3]


def test_only_stock_operations(exported):
    import tensorflow.raw_ops as stock

    _, path = exported
    used = operations(path)
    assert not used & FOREIGN
    assert not {op for op in used if not hasattr(stock, op)}


def test_names_of_the_classes_travel_along(exported):
    _, path = exported
    stored = json.loads((path / "assets.extra" / "mrcnn.json").read_text())
    assert stored["class_names"] == ["red", "green", "blue"]
    assert stored["category_ids"] == [1, 2, 3]
    assert stored["input"]["short_side"] == 64
    assert InputConfig(**stored["input"]) == InputConfig(64, 128, 32)


def test_a_saved_model_is_replaced_and_anything_else_is_not(tmp_path):
    target = tmp_path / "deep" / "model"
    export_saved_model(BlobFinder(), target)
    export_saved_model(BlobFinder(32), target, height=40, width=50)
    assert [p.name for p in target.parent.iterdir()] == ["model"]
    serve = tf.saved_model.load(str(target)).signatures["serving_default"]
    assert serve.structured_input_signature[1]["image"].shape == [None, 40, 50, 3]
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").write_text("all of it")
    with pytest.raises(ValueError, match="precious: exists and is not a SavedModel"):
        export_saved_model(BlobFinder(), tmp_path / "precious")
    assert (tmp_path / "precious" / "thesis.tex").exists()


def test_a_failed_export_leaves_nothing(tmp_path):
    class Broken(BlobFinder):
        def call(self, batch, training=None):
            raise RuntimeError("cannot be traced")

    with pytest.raises(RuntimeError, match="cannot be traced"):
        export_saved_model(Broken(), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_the_real_model_answers_elsewhere_as_here(tmp_path):
    model = tiny_model()
    path = export_saved_model(model, tmp_path / "model")
    pictures = [blank_picture(100, 120), *noise_pictures(5)]
    found = detect(model, pictures)
    assert sum(map(len, found)) > 10
    answers = run_elsewhere(path, pictures, tmp_path)
    for served, expected in zip(answers, found, strict=True):
        expect_same(served, expected)
    assert answers[0]["num_detections"] == 0
    assert not answers[0]["valid"].any()
    assert json.loads((path / "assets.extra" / "mrcnn.json").read_text())["category_ids"] == [3, 8]
    import tensorflow.raw_ops as stock

    used = operations(path)
    assert not used & FOREIGN
    assert not {op for op in used if not hasattr(stock, op)}
