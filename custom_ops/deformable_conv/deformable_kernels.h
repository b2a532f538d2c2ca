// What the op file calls: the kernels of the CPU and of CUDA, free of TensorFlow.
//
// Feature maps are [batch, height, width, channels], offsets [batch, out_height, out_width, offset_groups, taps, 2],
// masks the same without the 2, all contiguous; columns as `Params` says. T is float, Half or BFloat16; offsets, masks,
// sums and gradients of maps, offsets and masks are float32.
#ifndef MRCNN_DEFORMABLE_CONV_KERNELS_H_
#define MRCNN_DEFORMABLE_CONV_KERNELS_H_

#include <stdint.h>

#include "../common/numbers.h"
#include "../common/parallel.h"
#include "deformable_sampling.h"

namespace mrcnn {
namespace deformable {
namespace cpu {

template <typename T>
void columns(const Params& params, const T* features, const float* offsets, const float* mask, T* columns,
             const mrcnn::cpu::ParallelFor& parallel_for);

// Writes every element of the three gradients (that of the mask only if `params.modulated`), each sum in one order, so
// that the result does not depend on the number of threads.
template <typename T>
void backward(const Params& params, const T* upstream, const T* features, const float* offsets, const float* mask,
              float* to_features, float* to_offsets, float* to_mask, int num_threads,
              const mrcnn::cpu::ParallelFor& parallel_for);

}  // namespace cpu

namespace cuda {

// Each returns nullptr, or what CUDA says went wrong. `stream` is a cudaStream_t; pointers are the device's.

template <typename T>
const char* columns(const Params& params, const T* features, const float* offsets, const float* mask, T* columns,
                    void* stream);

// By atomic additions: the last digits vary from run to run.
template <typename T>
const char* backward(const Params& params, const T* upstream, const T* features, const float* offsets,
                     const float* mask, float* to_features, float* to_offsets, float* to_mask, void* stream);

}  // namespace cuda
}  // namespace deformable
}  // namespace mrcnn

#endif  // MRCNN_DEFORMABLE_CONV_KERNELS_H_
