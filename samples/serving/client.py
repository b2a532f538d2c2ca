"""Ask a model server: python samples/serving/client.py rest|grpc HOST:PORT MODEL IMAGE...

The server is TensorFlow Serving (REST on port 8501, gRPC on 8500) or stand_in.py. Images travel as the JPEG or PNG
files they are: by the signature `compact` over REST, where every number is text, and by `encoded` over gRPC. Nothing
of `mrcnn` is imported; `rest` needs nothing but Python.
"""

import base64
import json
import sys
import urllib.error
import urllib.request


def ask_rest(server, model, files):
    """One dict an image: `num_detections`, `boxes`, `scores`, `class_ids`, ... as lists.

    {"size": size, "counts": masks[k]} is the mask of detection k for `pycocotools.mask.decode`.
    """
    wanted = {"score_threshold": 0.05, "max_detections": 100}
    instances = [{"image_bytes": {"b64": base64.b64encode(file).decode()}, **wanted} for file in files]
    body = json.dumps({"signature_name": "compact", "instances": instances}).encode()
    request = urllib.request.Request(f"http://{server}/v1/models/{model}:predict", body)
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["predictions"]
    except urllib.error.HTTPError as error:
        sys.exit(f"HTTP {error.code}: {json.load(error)['error']}")


def ask_grpc(server, model, files):
    """The same, as NumPy arrays."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = "encoded"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(files, tf.string))
    unbounded = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]  # masks are large
    with grpc.insecure_channel(server, unbounded) as channel:
        try:
            answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=60)
        except grpc.RpcError as error:
            sys.exit(f"{error.code().name}: {error.details()}")
    outputs = {name: tf.make_ndarray(value) for name, value in answer.outputs.items()}
    return [{name: value[i] for name, value in outputs.items()} for i in range(len(files))]


def main():
    how, server, model, *paths = sys.argv[1:]
    files = []
    for path in paths:
        with open(path, "rb") as file:
            files.append(file.read())
    for path, result in zip(paths, {"rest": ask_rest, "grpc": ask_grpc}[how](server, model, files), strict=True):
        print(f"{path}: {result['num_detections']} detections")
        for k in range(min(int(result["num_detections"]), 5)):
            box = " ".join(f"{side:.1f}" for side in result["boxes"][k])
            print(f"  class {result['class_ids'][k]}  score {result['scores'][k]:.3f}  box {box}")


if __name__ == "__main__":
    main()
