// RoIAlign of rotated boxes on CUDA. Includes no TensorFlow header.
//
// Threads along x take neighboring channels, up to 16 bytes each where pointers and the number of channels allow; threads
// along y take bins. There is no shared memory and no barrier.
#include "../common/launch.h"
#include "rotated_kernels.h"

namespace mrcnn {
namespace rotated {
namespace cuda {
namespace {

using mrcnn::cuda::block_of;
using mrcnn::cuda::grid_of;
using mrcnn::cuda::kThreads;
using mrcnn::cuda::last_error;
using mrcnn::cuda::Pack;
using mrcnn::cuda::packs;

template <typename T, int kCount>
__global__ void __launch_bounds__(kThreads)
    forward_kernel(MRCNN_CONSTANT Params p, const T* features, const float* boxes, const int* image, T* pooled) {
  using P = Pack<T, kCount>;
  const int bins = p.bins_y * p.bins_x;
  const int64_t units = static_cast<int64_t>(p.num_rois) * bins;
  for (int64_t unit = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; unit < units;
       unit += static_cast<int64_t>(gridDim.x) * blockDim.y) {
    const int64_t r = unit / bins;
    const int bin = static_cast<int>(unit - r * bins), i = bin / p.bins_x, j = bin - i * p.bins_x;
    const Roi roi = place_roi(p, boxes + 5 * r, image[r]);
    for (int c = threadIdx.x * kCount; c < p.channels; c += blockDim.x * kCount) {
      float sum[kCount];
MRCNN_UNROLL
      for (int k = 0; k < kCount; ++k) sum[k] = 0.0f;
      if (roi.image >= 0) {
        const T* map = features + static_cast<int64_t>(roi.image) * p.height * p.width * p.channels + c;
        const float share = share_of(roi);
        for (int sample_y = 0; sample_y < roi.samples_y; ++sample_y) {
          for (int sample_x = 0; sample_x < roi.samples_x; ++sample_x) {
            int cell[4];
            float weight[4];
            if (!sample_at(p, roi, i, j, sample_y, sample_x, cell, weight)) continue;
MRCNN_UNROLL
            for (int corner = 0; corner < 4; ++corner) {
              const P value = *reinterpret_cast<const P*>(map + static_cast<int64_t>(cell[corner]) * p.channels);
MRCNN_UNROLL
              for (int k = 0; k < kCount; ++k) {
                sum[k] = fmaf(weight[corner] * share, to_float(value.value[k]), sum[k]);
              }
            }
          }
        }
      }
      P result;
MRCNN_UNROLL
      for (int k = 0; k < kCount; ++k) result.value[k] = from_float<T>(sum[k]);
      *reinterpret_cast<P*>(pooled + unit * p.channels + c) = result;
    }
  }
}

template <typename T, int kCount>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(MRCNN_CONSTANT Params p, const T* upstream, const float* boxes, const int* image, float* gradient) {
  using P = Pack<T, kCount>;
  const int bins = p.bins_y * p.bins_x;
  const int64_t units = static_cast<int64_t>(p.num_rois) * bins;
  for (int64_t unit = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; unit < units;
       unit += static_cast<int64_t>(gridDim.x) * blockDim.y) {
    const int64_t r = unit / bins;
    const int bin = static_cast<int>(unit - r * bins), i = bin / p.bins_x, j = bin - i * p.bins_x;
    const Roi roi = place_roi(p, boxes + 5 * r, image[r]);
    if (roi.image < 0) continue;
    const float share = share_of(roi);
    for (int c = threadIdx.x * kCount; c < p.channels; c += blockDim.x * kCount) {
      const P up = *reinterpret_cast<const P*>(upstream + unit * p.channels + c);
      float value[kCount];
MRCNN_UNROLL
      for (int k = 0; k < kCount; ++k) value[k] = to_float(up.value[k]) * share;
      float* map = gradient + static_cast<int64_t>(roi.image) * p.height * p.width * p.channels + c;
      for (int sample_y = 0; sample_y < roi.samples_y; ++sample_y) {
        for (int sample_x = 0; sample_x < roi.samples_x; ++sample_x) {
          int cell[4];
          float weight[4];
          if (!sample_at(p, roi, i, j, sample_y, sample_x, cell, weight)) continue;
MRCNN_UNROLL
          for (int corner = 0; corner < 4; ++corner) {
            mrcnn::cuda::add<kCount>(map + static_cast<int64_t>(cell[corner]) * p.channels, weight[corner], value);
          }
        }
      }
    }
  }
}

int64_t units_of(const Params& p) { return static_cast<int64_t>(p.num_rois) * p.bins_y * p.bins_x; }

}  // namespace

template <typename T>
const char* forward(const Params& p, const T* features, const float* boxes, const int* image, T* pooled,
                    void* stream) {
  constexpr int kCount = 16 / sizeof(T);
  if (units_of(p) * p.channels == 0) return nullptr;
  const bool vector = packs<T, kCount>(p.channels, features) && packs<T, kCount>(p.channels, pooled);
  const dim3 block = block_of(p.channels / (vector ? kCount : 1));
  auto* kernel = vector ? &forward_kernel<T, kCount> : &forward_kernel<T, 1>;
  MRCNN_LAUNCH(kernel, grid_of(units_of(p), block), block, stream, p, features, boxes, image, pooled);
  return last_error();
}

template <typename T>
const char* backward(const Params& p, const T* upstream, const float* boxes, const int* image, float* gradient,
                     void* stream) {
  constexpr int kCount = 4;
  const int64_t map_size = static_cast<int64_t>(p.batch) * p.height * p.width * p.channels;
  cudaMemsetAsync(gradient, 0, map_size * sizeof(float), static_cast<cudaStream_t>(stream));
  if (units_of(p) * p.channels == 0) return last_error();
  const bool vector = packs<T, kCount>(p.channels, upstream) && packs<float, kCount>(p.channels, gradient);
  const dim3 block = block_of(p.channels / (vector ? kCount : 1));
  auto* kernel = vector ? &backward_kernel<T, kCount> : &backward_kernel<T, 1>;
  MRCNN_LAUNCH(kernel, grid_of(units_of(p), block), block, stream, p, upstream, boxes, image, gradient);
  return last_error();
}

#define MRCNN_INSTANTIATE(T)                                                                                     \
  template const char* forward<T>(const Params&, const T*, const float*, const int*, T*, void*);                 \
  template const char* backward<T>(const Params&, const T*, const float*, const int*, float*, void*);
MRCNN_INSTANTIATE(float)
MRCNN_INSTANTIATE(Half)
MRCNN_INSTANTIATE(BFloat16)
#undef MRCNN_INSTANTIATE

}  // namespace cuda
}  // namespace rotated
}  // namespace mrcnn
