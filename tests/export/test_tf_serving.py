"""What TensorFlow Serving reads, read back with its own protobufs."""

from __future__ import annotations

import re

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from mrcnn.export import tf_serving


def test_warmup_requests_hold_what_was_given(tmp_path):
    image = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    files = np.array([b"\x89PNG", b"\xff\xd8\xff\x00"], object)
    requests = [("serving_default", {"image": image}), ("encoded", {"image_bytes": files})]
    tf_serving.write_warmup(tmp_path, "nuclei", requests)
    records = list(tf.data.TFRecordDataset(str(tmp_path / tf_serving.WARMUP)).as_numpy_iterator())
    logs = [prediction_log_pb2.PredictionLog.FromString(record) for record in records]
    assert [log.WhichOneof("log_type") for log in logs] == ["predict_log"] * 2
    asked = [log.predict_log.request for log in logs]
    assert [request.model_spec.name for request in asked] == ["nuclei"] * 2
    assert [request.model_spec.signature_name for request in asked] == ["serving_default", "encoded"]
    assert np.array_equal(tf.make_ndarray(asked[0].inputs["image"]), image)
    assert tf.make_ndarray(asked[1].inputs["image_bytes"]).tolist() == files.tolist()


def test_the_server_understands_the_model_config(tmp_path):
    base = tmp_path / "my model"
    base.mkdir()
    tf_serving.write_config(base, 7)
    text = (base / tf_serving.MODELS_CONFIG).read_text()
    parsed = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (model,) = parsed.model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == ("my_model", "/models/my_model", "tensorflow")
    assert model.model_version_policy.latest.num_versions == 1


def test_the_batching_config_has_the_fields_of_batching_parameters(tmp_path):
    # BatchingParameters itself is not among the published protobufs; these are its fields, by kind.
    wrapped = {"max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads"}
    tf_serving.write_config(tmp_path, 7)
    lines = [line.split("#")[0].strip() for line in (tmp_path / tf_serving.BATCHING_CONFIG).read_text().splitlines()]
    fields = [line for line in lines if line]
    assert {m[1] for line in fields if (m := re.fullmatch(r"(\w+) \{ value: \d+ \}", line))} == wrapped
    assert [line for line in fields if "{" not in line] == ["pad_variable_length_inputs: true"]
    assert "max_batch_size { value: 7 }" in fields


def test_files_that_someone_changed_stay(tmp_path):
    (tmp_path / tf_serving.MODELS_CONFIG).write_text("mine")
    tf_serving.write_config(tmp_path, 7)
    assert (tmp_path / tf_serving.MODELS_CONFIG).read_text() == "mine"


@pytest.mark.parametrize("folder, name", [("served", "served"), ("a b/ü-1.2", "_-1.2")])
def test_names_fit_into_a_url(folder, name, tmp_path):
    assert tf_serving.serving_name(tmp_path / folder) == name
