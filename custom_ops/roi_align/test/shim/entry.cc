// The CUDA kernels as the shim runs them, callable from Python: the same entry points without templates.
#include "kernels.h"

using mrcnn::BFloat16;
using mrcnn::FaultAt;
using mrcnn::Half;
using mrcnn::Params;
using mrcnn::Roi;

namespace {

template <typename T>
void forward(const Params& p, const void* const* features, const float* boxes, const int* image, void* pooled) {
  Roi* rois = new Roi[p.num_rois + 1];
  mrcnn::cuda::place(p, boxes, image, rois, nullptr, nullptr, nullptr);
  mrcnn::cuda::forward(p, reinterpret_cast<const T* const*>(features), rois, static_cast<T*>(pooled), nullptr);
  delete[] rois;
}

template <typename T>
void backward(const Params& p, const void* upstream, const float* boxes, const int* image, float* const* sums,
              void* const* gradient) {
  Roi* rois = new Roi[p.num_rois + 1];
  mrcnn::cuda::place(p, boxes, image, rois, nullptr, nullptr, nullptr);
  mrcnn::cuda::backward(p, static_cast<const T*>(upstream), rois, sums, nullptr);
  mrcnn::cuda::backward_deterministic(p, static_cast<const T*>(upstream), rois, reinterpret_cast<T* const*>(gradient),
                                      nullptr);
  delete[] rois;
}

}  // namespace

// `type`: 0 float32, 1 float16, 2 bfloat16.
extern "C" void shim_forward(int type, const Params* p, const void* const* features, const float* boxes,
                             const int* image, void* pooled) {
  auto* run = type == 0 ? &forward<float> : type == 1 ? &forward<Half> : &forward<BFloat16>;
  run(*p, features, boxes, image, pooled);
}

// Into `sums` (float32) by atomic additions, into `gradient` cell by cell.
extern "C" void shim_backward(int type, const Params* p, const void* upstream, const float* boxes, const int* image,
                              float* const* sums, void* const* gradient) {
  auto* run = type == 0 ? &backward<float> : type == 1 ? &backward<Half> : &backward<BFloat16>;
  run(*p, upstream, boxes, image, sums, gradient);
}

extern "C" int shim_sizeof_params() { return sizeof(Params); }
