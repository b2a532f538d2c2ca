"""What TensorFlow Serving reads beside a SavedModel: requests to warm up with, and configuration to start from.

Ref: tensorflow.org/tfx/serving/saved_model_warmup, tensorflow.org/tfx/serving/serving_config.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from mrcnn.files import atomic_write

WARMUP = "assets.extra/tf_serving_warmup_requests"
"""Where in a SavedModel TensorFlow Serving looks for requests to run before it takes any."""

MODELS_CONFIG, BATCHING_CONFIG = "models.config", "batching.config"
CONFIG_FILES = (MODELS_CONFIG, BATCHING_CONFIG)

_MODELS = """\
# tensorflow_model_server --model_config_file=/models/{name}/models.config
model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{name}"
    model_platform: "tensorflow"
    model_version_policy {{ latest {{ num_versions: 1 }} }}
  }}
}}
"""

_BATCHING = """\
# tensorflow_model_server --enable_batching --batching_parameters_file=/models/{name}/batching.config
# Images of several requests go through the model together: on a GPU; on a CPU it gains next to nothing.
# A request that is refused takes those it was batched with along, and the pixels of all of them count together:
# export with a larger max_request_pixels to batch large images, or set a smaller max_batch_size.
max_batch_size {{ value: {max_batch_size} }}  # images; what the model was exported for
batch_timeout_micros {{ value: 5000 }}
max_enqueued_batches {{ value: 100 }}
num_batch_threads {{ value: 1 }}  # batches at once: the model itself uses all cores
pad_variable_length_inputs: true  # images differ in size; the input "shape" says what is image
"""


def serving_name(path: Path) -> str:
    """The model's name in URLs and in the configuration: the folder's, of letters, digits, "_", "-" and "."."""
    return re.sub(r"[^\w.-]", "_", path.resolve().name, flags=re.ASCII) or "model"


def write_config(base: Path, max_batch_size: int) -> None:
    """models.config and batching.config into the folder that holds the versions; files that are there stay.

    Args:
        base: mounted in the server as /models/NAME, NAME as `serving_name` gives it.
        max_batch_size: images at once.
    """
    values = {"name": serving_name(base), "max_batch_size": max_batch_size}
    for file, text in ((MODELS_CONFIG, _MODELS), (BATCHING_CONFIG, _BATCHING)):
        if not (base / file).exists():
            with atomic_write(base / file) as part:
                part.write_text(text.format(**values), encoding="utf-8")


def write_warmup(
    folder: Path, name: str, requests: Sequence[tuple[str, Mapping[str, np.ndarray]]], outputs: Sequence[str] = ()
) -> None:
    """Requests as TFRecords of `PredictionLog` protobufs.

    Args:
        folder: of the SavedModel.
        name: of the model.
        requests: (signature, input tensors by name).
        outputs: names of the outputs to ask for. Empty: all.
    """
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    (folder / WARMUP).parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / WARMUP)) as writer:
        for signature, inputs in requests:
            request = predict_pb2.PredictRequest(output_filter=outputs)
            request.model_spec.name = name
            request.model_spec.signature_name = signature
            for key, value in inputs.items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
            log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
            writer.write(log.SerializeToString())
