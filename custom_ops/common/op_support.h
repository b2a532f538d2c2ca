// What the op files share of TensorFlow: refusals, number types, threads and streams.
#ifndef MRCNN_COMMON_OP_SUPPORT_H_
#define MRCNN_COMMON_OP_SUPPORT_H_

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "numbers.h"
#include "parallel.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#if defined(MRCNN_WITH_CUDA)
#include "tensorflow/core/platform/stream_executor.h"
#endif

namespace mrcnn {
namespace {

namespace tf = tensorflow;
using tf::shape_inference::DimensionHandle;
using tf::shape_inference::InferenceContext;
using tf::shape_inference::ShapeHandle;

template <typename... Parts>
absl::Status invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

// TensorFlow's number types are the kernels' ones bit by bit.
template <typename T>
struct Number {
  using type = T;
};
template <>
struct Number<Eigen::half> {
  using type = Half;
};
template <>
struct Number<Eigen::bfloat16> {
  using type = BFloat16;
};

template <typename T>
const typename Number<T>::type* data(const tf::Tensor& tensor) {
  return reinterpret_cast<const typename Number<T>::type*>(tensor.flat<T>().data());
}
template <typename T>
typename Number<T>::type* data(tf::Tensor* tensor) {
  return reinterpret_cast<typename Number<T>::type*>(tensor->flat<T>().data());
}

inline cpu::ParallelFor thread_pool(tf::OpKernelContext* c, int* num_threads) {
  const auto* workers = c->device()->tensorflow_cpu_worker_threads();
  *num_threads = workers->num_threads;
  tf::thread::ThreadPool* pool = workers->workers;
  return [pool](int64_t total, int64_t cost, const cpu::Body& body) {
    if (total > 0) pool->ParallelFor(total, cost, body);
  };
}

struct CPU {};
struct GPU {};

#if defined(MRCNN_WITH_CUDA)
inline void* stream_of(tf::OpKernelContext* c) {
  return c->op_device_context()->stream()->platform_specific_handle().stream;
}

inline absl::Status cuda_status(const char* error) {
  return error == nullptr ? absl::OkStatus() : absl::InternalError(absl::StrCat("CUDA: ", error));
}
#endif

}  // namespace
}  // namespace mrcnn

#endif  // MRCNN_COMMON_OP_SUPPORT_H_
