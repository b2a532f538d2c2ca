"""Answers as TensorFlow Serving does, where its binary is not to be had: stand_in.py VERSION MODEL [REST GRPC]

REST and GRPC are ports, 8501 and 8500 unless given. For development and tests: it speaks the two calls that `client.py`
makes, REST `:predict` (rows or columns) and gRPC `PredictionService.Predict`, in TensorFlow Serving's own protobufs,
and runs the SavedModel in the folder VERSION (served/1). No batching, no versions, no metrics. Nothing of `mrcnn` is
imported.
"""

import base64
import json
import sys
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

sys.modules["mrcnn"] = None  # importing it from here on is an error


class Model:
    """The signatures of a SavedModel, arrays in and out."""

    def __init__(self, folder):
        self.loaded = tf.saved_model.load(folder)

    def predict(self, signature, inputs):
        if signature not in self.loaded.signatures:
            raise ValueError(f"no signature {signature}")
        function = self.loaded.signatures[signature]
        specs = function.structured_input_signature[1]
        if set(inputs) != set(specs):
            raise ValueError(f"expected the inputs {', '.join(specs)}, got {', '.join(inputs)}")
        for name, value in inputs.items():
            if isinstance(value, np.ndarray) and tf.as_dtype(value.dtype) != specs[name].dtype:
                raise ValueError(f"input {name}: expected {specs[name].dtype.name}, got {value.dtype}")
        tensors = {name: tf.convert_to_tensor(value, specs[name].dtype) for name, value in inputs.items()}
        return {name: value.numpy() for name, value in function(**tensors).items()}


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """gRPC."""

    def __init__(self, model):
        self.model = model

    def Predict(self, request, context):
        try:
            inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
            outputs = self.model.predict(request.model_spec.signature_name or "serving_default", inputs)
        except (ValueError, TypeError, tf.errors.OpError) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        response = predict_pb2.PredictResponse(model_spec=request.model_spec)
        for name, value in outputs.items():
            if not request.output_filter or name in request.output_filter:
                response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response


def to_json(value):
    """An array as lists; strings are text, as those of an output are whose name does not end in "_bytes"."""
    value = np.asarray(value)
    return np.char.decode(value.astype("S"), "utf-8").tolist() if value.dtype == object else value.tolist()


def from_json(value):
    """Lists, numbers and {"b64": ...} as they come in a request."""
    if isinstance(value, dict) and set(value) == {"b64"}:
        return base64.b64decode(value["b64"])
    return [from_json(item) for item in value] if isinstance(value, list) else value


def rest_handler(model, name):
    """REST: {"instances": [{input: value}, ...]} or {"inputs": {input: values}}."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            try:
                if self.path != f"/v1/models/{name}:predict":
                    return self.answer(404, {"error": f"no such path: {self.path}"})
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                rows = request.get("instances")
                columns = request.get("inputs") if rows is None else {k: [row[k] for row in rows] for k in rows[0]}
                inputs = {key: from_json(value) for key, value in columns.items()}
                outputs = model.predict(request.get("signature_name", "serving_default"), inputs)
            except (ValueError, TypeError, KeyError, IndexError, tf.errors.OpError) as error:
                return self.answer(400, {"error": str(error)})
            if rows is None:
                return self.answer(200, {"outputs": {key: to_json(value) for key, value in outputs.items()}})
            rows = [{key: to_json(value[i]) for key, value in outputs.items()} for i in range(len(rows))]
            return self.answer(200, {"predictions": rows})

        def answer(self, code, content):
            body = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return Handler


def start(folder, name, rest_port=8501, grpc_port=8500):
    """Both servers, running; returns them and their ports (0 chooses one)."""
    model = Model(folder)
    unbounded = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(futures.ThreadPoolExecutor(2), options=unbounded)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(model), server)
    grpc_port = server.add_insecure_port(f"localhost:{grpc_port}")
    server.start()
    rest = ThreadingHTTPServer(("localhost", rest_port), rest_handler(model, name))
    Thread(target=rest.serve_forever, daemon=True).start()
    return rest, server, rest.server_port, grpc_port


if __name__ == "__main__":
    _, server, rest_port, grpc_port = start(*sys.argv[1:3], *map(int, sys.argv[3:5]))
    print(f"{sys.argv[2]}: REST on localhost:{rest_port}, gRPC on localhost:{grpc_port}", flush=True)
    server.wait_for_termination()
