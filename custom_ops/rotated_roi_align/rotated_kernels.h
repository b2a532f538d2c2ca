// What the op file calls: the kernels of the CPU and of CUDA, free of TensorFlow.
//
// The feature map is [batch, height, width, channels], boxes [num_rois, 5], pooled features [num_rois, bins_y, bins_x,
// channels], all contiguous; `image` holds the image of each RoI. T is float, Half or BFloat16; sums and the gradient are
// float32.
#ifndef MRCNN_ROTATED_ROI_ALIGN_KERNELS_H_
#define MRCNN_ROTATED_ROI_ALIGN_KERNELS_H_

#include <stdint.h>

#include "../common/numbers.h"
#include "../common/parallel.h"
#include "rotated_sampling.h"

namespace mrcnn {
namespace rotated {
namespace cpu {

template <typename T>
void forward(const Params& params, const T* features, const float* boxes, const int* image, T* pooled,
             const mrcnn::cpu::ParallelFor& parallel_for);

// Writes every element of `gradient`, each sum in the order of the RoIs, so that the result does not depend on the number
// of threads.
template <typename T>
void backward(const Params& params, const T* upstream, const float* boxes, const int* image, float* gradient,
              int num_threads, const mrcnn::cpu::ParallelFor& parallel_for);

}  // namespace cpu

namespace cuda {

// Each returns nullptr, or what CUDA says went wrong. `stream` is a cudaStream_t; pointers are the device's.

template <typename T>
const char* forward(const Params& params, const T* features, const float* boxes, const int* image, T* pooled,
                    void* stream);

// By atomic additions: the last digits vary from run to run.
template <typename T>
const char* backward(const Params& params, const T* upstream, const float* boxes, const int* image, float* gradient,
                     void* stream);

}  // namespace cuda
}  // namespace rotated
}  // namespace mrcnn

#endif  // MRCNN_ROTATED_ROI_ALIGN_KERNELS_H_
