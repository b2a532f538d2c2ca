"""An exported model behind TensorFlow Serving's protocols and protobufs: in C++, over gRPC and over REST."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from mrcnn.export import export_saved_model
from mrcnn.export.served_check import encode_png, pixel_inputs, served_instances
from mrcnn.inference import detect
from mrcnn.weights.pretrained import load_pretrained
from tests.blob_finder import BlobFinder, image, mixed_images
from tests.conftest import SAMPLES
from tests.export.test_image_bytes import bomb_png
from tests.export.test_saved_model import expect_same

SERVING = SAMPLES / "serving"


def predict_request(signature, **inputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "model"
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def by_response(content, images):
    response = predict_pb2.PredictResponse.FromString(content)
    outputs = {name: tf.make_ndarray(value) for name, value in response.outputs.items()}
    return response, served_instances(outputs, [p.shape[:2] for p in images])


@pytest.fixture(scope="module")
def blobs(tmp_path_factory):
    model = BlobFinder()
    return model, export_saved_model(model, tmp_path_factory.mktemp("serving") / "blobs")


@pytest.fixture(scope="module")
def stand_in(blobs):
    command = [sys.executable, str(SERVING / "stand_in.py"), str(blobs[1]), "blobs", "0", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        line = process.stdout.readline()
        ports = re.findall(r"localhost:(\d+)", line)
        assert len(ports) == 2, line + process.stderr.read()
        yield dict(zip(("rest", "grpc"), ports, strict=True))
        process.terminate()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["rest", "grpc"])
def test_the_sample_client_prints_what_is_found(stand_in, blobs, tmp_path, how):
    images = [image(50, 70), *mixed_images(3)]
    for i, pixels in enumerate(images):
        (tmp_path / f"{i}.png").write_bytes(encode_png(pixels))
    (tmp_path / "bomb.png").write_bytes(bomb_png())
    command = [sys.executable, str(SERVING / "client.py"), how, f"localhost:{stand_in[how]}", "blobs"]
    refused = subprocess.run([*command, "bomb.png"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert refused.returncode == 1
    assert "image 0 has 60000 x 60000 pixels" in refused.stderr
    files = [f"{i}.png" for i in range(len(images))]
    said = subprocess.run([*command, *files], capture_output=True, text=True, cwd=tmp_path, check=True).stdout
    expected = ""
    for file, result in zip(files, detect(blobs[0], images, score_threshold=None), strict=True):
        expected += f"{file}: {len(result)} detections\n"
        for box, score, class_id in zip(result.boxes, result.scores, result.class_ids, strict=True):
            expected += f"  class {class_id}  score {score:.3f}  box {' '.join(f'{side:.1f}' for side in box)}\n"
    assert said == expected


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The C++ program, built against the TensorFlow of this Python."""
    if shutil.which("g++") is None or shutil.which("make") is None:
        pytest.skip("needs g++ and make")
    target = tmp_path_factory.mktemp("build") / "predict"
    command = ["make", "-C", str(SERVING), f"PYTHON={sys.executable}", f"OUT={target}", "CXXFLAGS=-O0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return target


def run(program, *arguments):
    done = subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 3), done.stderr[-3000:]
    return done


@pytest.mark.slow
def test_cpp_answers_as_python(program, tmp_path, samples_dir):
    """The shipped model, from C++ through LoadSavedModel: images, PredictRequests, the warm-up, hostile requests."""
    model = load_pretrained(samples_dir / "nuclei/run")
    paths = sorted((samples_dir / "nuclei/images").glob("*.png"))[:3]
    images = [np.ascontiguousarray(tf.io.decode_png(path.read_bytes(), 3).numpy()) for path in paths]
    said = []
    version = export_saved_model(model, tmp_path / "nuclei", images=paths, log=said.append)
    result = detect(model, paths, score_threshold=None)
    assert sum(map(len, result)) > 20

    printed = run(program, version, *paths).stdout
    rows = re.findall(r"class (\d+)  score (\S+)  box (\S+) (\S+) (\S+) (\S+)", printed)
    assert printed.count("[encoded]") == len(paths)
    assert [int(n) for n in re.findall(r"image 0: (\d+) detections", printed)] == [len(one) for one in result]
    rows = np.array(rows, float)
    np.testing.assert_allclose(rows[:, 1], np.concatenate([one.scores for one in result]), atol=1e-3)
    np.testing.assert_allclose(rows[:, 2:], np.concatenate([one.boxes for one in result]), atol=0.05)

    requests = {
        "pixels": predict_request("serving_default", **pixel_inputs(images)),
        "files": predict_request("encoded", image_bytes=np.array([path.read_bytes() for path in paths], object)),
        "one_pixel": predict_request("serving_default", **pixel_inputs([images[0][:1, :1]])),
        "wrong_type": predict_request(
            "serving_default", image=np.zeros((1, 8, 8, 3), np.float32), shape=np.array([[8, 8]], np.int32)
        ),
        "missing": predict_request("serving_default", image=images[0][None]),
        "bomb": predict_request("encoded", image_bytes=np.array([bomb_png()], object)),
        "cut": predict_request("encoded", image_bytes=np.array([paths[0].read_bytes()[:3000]], object)),
        "again": predict_request("serving_default", **pixel_inputs(images[:1])),
    }
    requests["again"].output_filter.extend(["boxes", "num_detections"])
    for name, request in requests.items():
        (tmp_path / f"{name}.pb").write_bytes(request.SerializeToString())
    (tmp_path / "junk.pb").write_bytes(b"\xff" * 100)
    done = run(program, version, *(tmp_path / f"{name}.pb" for name in ("junk", *requests)))
    refused = dict(re.findall(r"/(\w+)\.pb: refused: (.*)", done.stdout))
    assert set(refused) == {"junk", "one_pixel", "wrong_type", "missing", "bomb", "cut"}
    assert "image 0 has 1 x 1 pixels" in refused["one_pixel"]
    assert "expected uint8, got float" in refused["wrong_type"]
    assert "shape is missing" in refused["missing"]
    assert "60000 x 60000" in refused["bomb"]
    assert "PredictRequest" in refused["junk"]
    for name in ("pixels", "files"):
        response, served = by_response((tmp_path / f"{name}.pb.response").read_bytes(), images)
        assert response.model_spec == requests[name].model_spec
        for there, here in zip(served, result, strict=True):
            expect_same(there, here, 2e-3)
    again = predict_pb2.PredictResponse.FromString((tmp_path / "again.pb.response").read_bytes())
    assert sorted(again.outputs) == ["boxes", "num_detections"]
    assert tf.make_ndarray(again.outputs["num_detections"]).tolist() == [len(result[0])]

    warmed = run(program, version, "--warmup")
    assert warmed.returncode == 0
    assert {"[serving_default]", "[encoded]"} <= set(re.findall(r"\[\w+\]", warmed.stdout))
    assert json.loads((version / "assets.extra/mrcnn.json").read_text())["compared"]["detections"] > 20
