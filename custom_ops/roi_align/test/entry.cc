// The entry points of the CUDA kernels without templates, callable from Python. Pointers are the device's, or with the
// shim the host's; `type` is 0 for float32, 1 for float16, 2 for bfloat16. Each returns nullptr or what CUDA says.
#include "kernels.h"

using mrcnn::BFloat16;
using mrcnn::Half;
using mrcnn::Params;
using mrcnn::Roi;

namespace {

template <typename T>
const char* forward(const Params& p, const void* const* features, const Roi* rois, void* pooled, void* stream) {
  return mrcnn::cuda::forward(p, reinterpret_cast<const T* const*>(features), rois, static_cast<T*>(pooled), stream);
}

template <typename T>
const char* backward(const Params& p, const void* upstream, const Roi* rois, float* const* sums, void* stream) {
  return mrcnn::cuda::backward(p, static_cast<const T*>(upstream), rois, sums, stream);
}

template <typename T>
const char* backward_deterministic(const Params& p, const void* upstream, const Roi* rois, void* const* gradient,
                                   void* stream) {
  return mrcnn::cuda::backward_deterministic(p, static_cast<const T*>(upstream), rois,
                                             reinterpret_cast<T* const*>(gradient), stream);
}

#define MRCNN_BY_TYPE(FUNCTION) (type == 0 ? &FUNCTION<float> : type == 1 ? &FUNCTION<Half> : &FUNCTION<BFloat16>)

}  // namespace

extern "C" int entry_sizeof_params() { return sizeof(Params); }
extern "C" int entry_sizeof_roi() { return sizeof(Roi); }

extern "C" const char* entry_place(const Params* p, const float* boxes, const int* image, Roi* rois, void* stream) {
  return mrcnn::cuda::place(*p, boxes, image, rois, nullptr, nullptr, stream);
}

extern "C" const char* entry_forward(int type, const Params* p, const void* const* features, const Roi* rois,
                                     void* pooled, void* stream) {
  return MRCNN_BY_TYPE(forward)(*p, features, rois, pooled, stream);
}

extern "C" const char* entry_backward(int type, const Params* p, const void* upstream, const Roi* rois,
                                      float* const* sums, void* stream) {
  return MRCNN_BY_TYPE(backward)(*p, upstream, rois, sums, stream);
}

extern "C" const char* entry_backward_deterministic(int type, const Params* p, const void* upstream, const Roi* rois,
                                                    void* const* gradient, void* stream) {
  return MRCNN_BY_TYPE(backward_deterministic)(*p, upstream, rois, gradient, stream);
}
