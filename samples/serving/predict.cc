// Loads a SavedModel as TensorFlow Serving does and answers TensorFlow Serving's requests, without Python:
//
//   predict SAVED_MODEL IMAGE.png|.jpg ...     detections in image files, by the signature "encoded"
//   predict SAVED_MODEL REQUEST.pb ...           each a tensorflow.serving.PredictRequest; writes REQUEST.pb.response
//   predict SAVED_MODEL --warmup                 replays assets.extra/tf_serving_warmup_requests
//
// SAVED_MODEL is the folder of one version (served/1). A request that is refused is reported, and the next one served.
// `make -C samples/serving` builds it against the libraries that lie in TensorFlow's Python package.

#include <algorithm>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tensorflow/cc/saved_model/loader.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/framework/tensor.pb.h"
#include "tensorflow/core/lib/io/record_reader.h"
#include "tensorflow/core/platform/env.h"
#include "tensorflow/core/protobuf/meta_graph.pb.h"

namespace {

using tensorflow::Tensor;
using Tensors = std::map<std::string, Tensor>;

// ---- the few of TensorFlow Serving's protobufs that travel; their C++ classes are not part of TensorFlow ----

// The length-delimited fields of a serialized message, by number, in order; numbers in between are skipped.
bool Fields(const std::string& message, std::vector<std::pair<int, std::string>>* fields) {
  tensorflow::protobuf::io::CodedInputStream in(reinterpret_cast<const uint8_t*>(message.data()),
                                                static_cast<int>(message.size()));
  while (const uint32_t tag = in.ReadTag()) {
    uint32_t length;
    uint64_t number;
    std::string value;
    switch (tag & 7) {
      case 0:
        if (!in.ReadVarint64(&number)) return false;
        break;
      case 1:
        if (!in.Skip(8)) return false;
        break;
      case 2:
        if (!in.ReadVarint32(&length) || !in.ReadString(&value, static_cast<int>(length))) return false;
        fields->emplace_back(tag >> 3, std::move(value));
        break;
      case 5:
        if (!in.Skip(4)) return false;
        break;
      default:
        return false;
    }
  }
  return in.ConsumedEntireMessage();
}

void AppendField(int number, const std::string& value, std::string* message) {
  tensorflow::protobuf::io::StringOutputStream stream(message);
  tensorflow::protobuf::io::CodedOutputStream out(&stream);
  out.WriteTag(static_cast<uint32_t>(number) << 3 | 2);
  out.WriteVarint32(static_cast<uint32_t>(value.size()));
  out.WriteString(value);
}

// PredictRequest: model_spec = 1 (name = 1, signature_name = 3), inputs = 2 (key = 1, value = 2), output_filter = 3.
struct Request {
  std::string model_spec, signature = "serving_default";
  Tensors inputs;
  std::vector<std::string> outputs;  // none: all
};

absl::Status ParseRequest(const std::string& message, Request* request) {
  const auto damaged = absl::InvalidArgumentError("not a tensorflow.serving.PredictRequest");
  std::vector<std::pair<int, std::string>> fields;
  if (!Fields(message, &fields)) return damaged;
  for (const auto& [number, value] : fields) {
    std::vector<std::pair<int, std::string>> inner;
    if (number == 3) request->outputs.push_back(value);
    if (number > 2) continue;
    if (!Fields(value, &inner)) return damaged;
    std::string name;
    for (const auto& [part, content] : inner) {
      if (number == 1 && part == 3) request->signature = content;
      if (number == 2 && part == 1) name = content;
      if (number != 2 || part != 2) continue;
      tensorflow::TensorProto proto;
      Tensor tensor;
      if (!proto.ParseFromString(content) || !tensor.FromProto(proto)) return damaged;
      request->inputs[name] = tensor;
    }
    if (number == 1) request->model_spec = value;
  }
  return absl::OkStatus();
}

// PredictResponse: outputs = 1 (key = 1, value = 2), model_spec = 2.
std::string SerializeResponse(const Request& request, const Tensors& outputs) {
  std::string message;
  for (const auto& [name, tensor] : outputs) {
    tensorflow::TensorProto proto;
    tensor.AsProtoTensorContent(&proto);
    std::string entry;
    AppendField(1, name, &entry);
    AppendField(2, proto.SerializeAsString(), &entry);
    AppendField(1, entry, &message);
  }
  AppendField(2, request.model_spec, &message);
  return message;
}

// ---- the model ----

absl::Status Predict(const tensorflow::SavedModelBundle& model, const Request& request, Tensors* outputs) {
  const auto& signatures = model.meta_graph_def.signature_def();
  const auto found = signatures.find(request.signature);
  if (found == signatures.end()) return absl::NotFoundError("no signature " + request.signature);
  std::vector<std::pair<std::string, Tensor>> feeds;
  for (const auto& [name, info] : found->second.inputs()) {
    const auto given = request.inputs.find(name);
    if (given == request.inputs.end()) return absl::InvalidArgumentError("input " + name + " is missing");
    if (given->second.dtype() != info.dtype()) {
      return absl::InvalidArgumentError("input " + name + ": expected " + DataTypeString(info.dtype()) + ", got " +
                                        DataTypeString(given->second.dtype()));
    }
    feeds.emplace_back(info.name(), given->second);
  }
  std::vector<std::string> names, fetches;
  for (const auto& [name, info] : found->second.outputs()) {
    const auto& wanted = request.outputs;
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), name) == wanted.end()) continue;
    names.push_back(name);
    fetches.push_back(info.name());
  }
  std::vector<Tensor> results;
  const absl::Status status = model.session->Run(feeds, fetches, {}, &results);
  if (!status.ok()) return status;
  for (size_t i = 0; i < names.size(); ++i) (*outputs)[names[i]] = results[i];
  return absl::OkStatus();
}

// One line per detection of each image of a batch: class id, score, box (y1 x1 y2 x2) in pixels of the image.
void Print(const Tensors& outputs) {
  for (const char* name : {"num_detections", "boxes", "scores", "class_ids"}) {
    if (outputs.count(name) == 0) return;
  }
  const auto count = outputs.at("num_detections").vec<int32_t>();
  const auto boxes = outputs.at("boxes").tensor<float, 3>();
  const auto scores = outputs.at("scores").matrix<float>();
  const auto class_ids = outputs.at("class_ids").matrix<int32_t>();
  for (int64_t i = 0; i < count.size(); ++i) {
    std::cout << "  image " << i << ": " << count(i) << " detections\n";
    for (int32_t k = 0; k < count(i); ++k) {
      std::cout << "    class " << class_ids(i, k) << "  score " << scores(i, k) << "  box " << boxes(i, k, 0) << " "
                << boxes(i, k, 1) << " " << boxes(i, k, 2) << " " << boxes(i, k, 3) << "\n";
    }
  }
}

bool EndsWith(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// The requests of a file of TFRecords of PredictionLog: predict_log = 6, its request = 1.
absl::Status ReadWarmup(const std::string& folder, std::vector<Request>* requests) {
  std::unique_ptr<tensorflow::RandomAccessFile> file;
  absl::Status status =
      tensorflow::Env::Default()->NewRandomAccessFile(folder + "/assets.extra/tf_serving_warmup_requests", &file);
  if (!status.ok()) return status;
  tensorflow::io::SequentialRecordReader reader(file.get());
  tensorflow::tstring record;
  while ((status = reader.ReadRecord(&record)).ok()) {
    std::vector<std::pair<int, std::string>> log, predict;
    if (!Fields(std::string(record), &log)) return absl::DataLossError("not a PredictionLog");
    for (const auto& [number, value] : log) {
      if (number != 6) continue;
      if (!Fields(value, &predict) || predict.empty()) return absl::DataLossError("not a PredictLog");
      requests->emplace_back();
      status = ParseRequest(predict[0].second, &requests->back());
      if (!status.ok()) return status;
    }
  }
  return absl::IsOutOfRange(status) ? absl::OkStatus() : status;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: predict SAVED_MODEL IMAGE|REQUEST.pb|--warmup ...\n";
    return 2;
  }
  const std::string folder = argv[1];
  tensorflow::SavedModelBundle model;
  const absl::Status loaded = tensorflow::LoadSavedModel(tensorflow::SessionOptions(), tensorflow::RunOptions(), folder,
                                                         {"serve"}, &model);
  if (!loaded.ok()) {
    std::cerr << loaded << "\n";
    return 1;
  }
  int refused = 0;
  for (int i = 2; i < argc; ++i) {
    const std::string path = argv[i];
    std::vector<Request> requests(1);
    absl::Status status;
    if (path == "--warmup") {
      requests.clear();
      status = ReadWarmup(folder, &requests);
    } else {
      std::ifstream file(path, std::ios::binary);
      const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
      if (!file.is_open()) {
        status = absl::NotFoundError("no such file");
      } else if (EndsWith(path, ".pb")) {
        status = ParseRequest(bytes, &requests[0]);
      } else {
        requests[0].signature = "encoded";
        requests[0].inputs["image_bytes"] = Tensor(tensorflow::DT_STRING, {1});
        requests[0].inputs["image_bytes"].vec<tensorflow::tstring>()(0) = bytes;
      }
    }
    for (size_t k = 0; status.ok() && k < requests.size(); ++k) {
      std::cout << path << " [" << requests[k].signature << "]\n";
      Tensors outputs;
      status = Predict(model, requests[k], &outputs);
      if (!status.ok()) break;
      Print(outputs);
      if (EndsWith(path, ".pb")) {
        std::ofstream(path + ".response", std::ios::binary) << SerializeResponse(requests[k], outputs);
      }
    }
    if (!status.ok()) {
      std::cout << path << ": refused: " << status << "\n";
      ++refused;
    }
  }
  return refused == 0 ? 0 : 3;
}
