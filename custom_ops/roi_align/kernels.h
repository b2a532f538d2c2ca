// What the op file calls: the kernels of the CPU and of CUDA, free of TensorFlow.
//
// Every feature map is [batch, height, width, channels], contiguous; pooled features are [num_rois, bins_y, bins_x,
// channels]. `image` holds the image of each RoI, -1 for a RoI that gives zeros. T is float, Half or BFloat16; sums
// are float32 throughout.
#ifndef MRCNN_ROI_ALIGN_KERNELS_H_
#define MRCNN_ROI_ALIGN_KERNELS_H_

#include <stdint.h>

#include "../common/numbers.h"
#include "../common/parallel.h"
#include "sampling.h"

namespace mrcnn {

struct FaultAt {
  int fault;  // Fault
  int roi;
  float box[4];
  int image;
};

namespace cpu {

// The first RoI that cannot be pooled, if any.
FaultAt check(const Params& params, const float* boxes, const int* image);

template <typename T>
void forward(const Params& params, const T* const* features, const float* boxes, const int* image, T* pooled,
             const ParallelFor& parallel_for);

// Writes every element of `gradient`, one map per level. The order of the additions into one element is that of the
// RoIs, so the result does not depend on the number of threads.
template <typename T>
void backward(const Params& params, const T* upstream, const float* boxes, const int* image, T* const* gradient,
              const ParallelFor& parallel_for);

// RoIPool on levels[0]. `argmax`: cell (y * width + x) of each maximum, -1 where a bin holds no cell.
template <typename T>
void pool_forward(const Params& params, const T* features, const float* boxes, const int* image, T* pooled,
                  int* argmax, const ParallelFor& parallel_for);

template <typename T>
void pool_backward(const Params& params, const T* upstream, const int* argmax, const int* image, float* gradient,
                   int num_threads, const ParallelFor& parallel_for);

// out[i] = T(in[i])
template <typename T>
void convert(const float* in, T* out, int64_t count, const ParallelFor& parallel_for);

}  // namespace cpu

namespace cuda {

// Each returns nullptr, or what CUDA says went wrong. `stream` is a cudaStream_t; pointers are the device's. `rois` has
// space for num_rois of them.

// Places the RoIs. If `fault` is given, waits for the device and says which RoI cannot be pooled (`first` has space for
// one int on the device); otherwise such RoIs give zeros.
const char* place(const Params& params, const float* boxes, const int* image, Roi* rois, int* first, FaultAt* fault,
                  void* stream);

template <typename T>
const char* forward(const Params& params, const T* const* features, const Roi* rois, T* pooled, void* stream);

// By atomic additions into float32 maps, which it sets to zero first: fast, last digits vary from run to run.
template <typename T>
const char* backward(const Params& params, const T* upstream, const Roi* rois, float* const* gradient, void* stream);

// Cell by cell, RoIs in order: the same digits every time.
template <typename T>
const char* backward_deterministic(const Params& params, const T* upstream, const Roi* rois, T* const* gradient,
                                   void* stream);

template <typename T>
const char* pool_forward(const Params& params, const T* features, const float* boxes, const int* image, T* pooled,
                         int* argmax, void* stream);

template <typename T>
const char* pool_backward(const Params& params, const T* upstream, const int* argmax, const int* image,
                          bool deterministic, float* gradient, void* stream);

template <typename T>
const char* convert(const float* in, T* out, int64_t count, void* stream);

}  // namespace cuda
}  // namespace mrcnn

#endif  // MRCNN_ROI_ALIGN_KERNELS_H_
