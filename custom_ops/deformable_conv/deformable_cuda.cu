// Deformable convolution's samples and their gradients on CUDA. Includes no TensorFlow header.
//
// Threads along x take neighboring channels, up to 16 bytes each where pointers and the numbers of channels allow;
// threads along y take samples (output cell, tap, group of offsets). There is no shared memory and no barrier.
#include "../common/launch.h"
#include "deformable_kernels.h"

namespace mrcnn {
namespace deformable {
namespace cuda {
namespace {

using mrcnn::cuda::block_of;
using mrcnn::cuda::grid_of;
using mrcnn::cuda::kThreads;
using mrcnn::cuda::last_error;
using mrcnn::cuda::Pack;

// Threads that share one sample in the gradient of the offsets: each adds its part of the sum over channels. Eight read
// a run of 128 bytes of float32.
constexpr int kSharers = 8;

struct Unit {
  int64_t cell;  // output cell
  int tap, group;
};

__device__ __forceinline__ Unit unit_at(const Params& p, int64_t index) {
  Unit unit;
  unit.group = static_cast<int>(index % p.offset_groups);
  index /= p.offset_groups;
  unit.tap = static_cast<int>(index % taps_of(p));
  unit.cell = index / taps_of(p);
  return unit;
}

// Where channel `channel` of a sample's column lies.
__device__ __forceinline__ int64_t column_at(const Params& p, const Unit& unit, int channel) {
  const int per_group = p.channels / p.groups, group = channel / per_group;
  return ((group * out_cells(p) + unit.cell) * taps_of(p) + unit.tap) * per_group + (channel - group * per_group);
}

template <typename T, int kCount>
__global__ void __launch_bounds__(kThreads)
    columns_kernel(MRCNN_CONSTANT Params p, const T* features, const float* offsets, const float* mask, T* columns) {
  using P = Pack<T, kCount>;
  const int width = p.channels / p.offset_groups;
  const int64_t units = out_cells(p) * taps_of(p) * p.offset_groups;
  for (int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; index < units;
       index += static_cast<int64_t>(gridDim.x) * blockDim.y) {
    const Unit unit = unit_at(p, index);
    const Sample s = sample_at(p, offsets, mask, unit.cell, unit.group, unit.tap);
    float weight[4];
    weights_of(s, weight);
    for (int c = threadIdx.x * kCount; c < width; c += blockDim.x * kCount) {
      const int channel = unit.group * width + c;
      float sum[kCount];
MRCNN_UNROLL
      for (int k = 0; k < kCount; ++k) sum[k] = 0.0f;
MRCNN_UNROLL
      for (int corner = 0; corner < 4; ++corner) {
        if (s.inside[corner] == 0.0f) continue;
        const float w = weight[corner] * s.mask;
        const P value = *reinterpret_cast<const P*>(features + s.cell[corner] * p.channels + channel);
MRCNN_UNROLL
        for (int k = 0; k < kCount; ++k) sum[k] = fmaf(w, to_float(value.value[k]), sum[k]);
      }
      P result;
MRCNN_UNROLL
      for (int k = 0; k < kCount; ++k) result.value[k] = from_float<T>(sum[k]);
      *reinterpret_cast<P*>(columns + column_at(p, unit, channel)) = result;
    }
  }
}

template <typename T, int kCount>
__global__ void __launch_bounds__(kThreads)
    features_kernel(MRCNN_CONSTANT Params p, const T* upstream, const float* offsets, const float* mask,
                    float* to_features) {
  using P = Pack<T, kCount>;
  const int width = p.channels / p.offset_groups;
  const int64_t units = out_cells(p) * taps_of(p) * p.offset_groups;
  for (int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; index < units;
       index += static_cast<int64_t>(gridDim.x) * blockDim.y) {
    const Unit unit = unit_at(p, index);
    const Sample s = sample_at(p, offsets, mask, unit.cell, unit.group, unit.tap);
    float weight[4];
    weights_of(s, weight);
    for (int c = threadIdx.x * kCount; c < width; c += blockDim.x * kCount) {
      const int channel = unit.group * width + c;
      const P up = *reinterpret_cast<const P*>(upstream + column_at(p, unit, channel));
      float value[kCount];
MRCNN_UNROLL
      for (int k = 0; k < kCount; ++k) value[k] = to_float(up.value[k]) * s.mask;
MRCNN_UNROLL
      for (int corner = 0; corner < 4; ++corner) {
        if (s.inside[corner] == 0.0f) continue;
        mrcnn::cuda::add<kCount>(to_features + s.cell[corner] * p.channels + channel, weight[corner], value);
      }
    }
  }
}

template <typename T, int kCount>
__global__ void __launch_bounds__(kThreads)
    offsets_kernel(MRCNN_CONSTANT Params p, const T* upstream, const T* features, const float* offsets,
                   const float* mask, float* to_offsets, float* to_mask) {
  using P = Pack<T, kCount>;
  const int width = p.channels / p.offset_groups;
  const int64_t units = out_cells(p) * taps_of(p) * p.offset_groups;
  for (int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; index < units;
       index += static_cast<int64_t>(gridDim.x) * blockDim.y) {
    const Unit unit = unit_at(p, index);
    const Sample s = sample_at(p, offsets, mask, unit.cell, unit.group, unit.tap);
    float product[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    for (int c = threadIdx.x * kCount; c < width; c += blockDim.x * kCount) {
      const int channel = unit.group * width + c;
      const P up = *reinterpret_cast<const P*>(upstream + column_at(p, unit, channel));
MRCNN_UNROLL
      for (int corner = 0; corner < 4; ++corner) {
        if (s.inside[corner] == 0.0f) continue;
        const P value = *reinterpret_cast<const P*>(features + s.cell[corner] * p.channels + channel);
MRCNN_UNROLL
        for (int k = 0; k < kCount; ++k) {
          product[corner] = fmaf(to_float(up.value[k]), to_float(value.value[k]), product[corner]);
        }
      }
    }
    float to_y, to_x, to_weight;
    slopes_of(s, product, &to_y, &to_x, &to_weight);
    const int64_t at = (unit.cell * p.offset_groups + unit.group) * taps_of(p) + unit.tap;
    atomicAdd(to_offsets + 2 * at, to_y);
    atomicAdd(to_offsets + 2 * at + 1, to_x);
    if (p.modulated) atomicAdd(to_mask + at, to_weight);
  }
}

// Whether a thread may take kCount channels at once: none of them in another group.
template <typename T, int kCount>
bool packs(const Params& p, const void* one, const void* other) {
  const uintptr_t pointers = reinterpret_cast<uintptr_t>(one) | reinterpret_cast<uintptr_t>(other);
  return p.channels / p.groups % kCount == 0 && p.channels / p.offset_groups % kCount == 0 &&
         pointers % (kCount * sizeof(T)) == 0;
}

int64_t units_of(const Params& p) { return out_cells(p) * taps_of(p) * p.offset_groups; }

}  // namespace

template <typename T>
const char* columns(const Params& p, const T* features, const float* offsets, const float* mask, T* columns,
                    void* stream) {
  constexpr int kCount = 16 / sizeof(T);
  if (units_of(p) * p.channels == 0) return nullptr;
  const bool vector = packs<T, kCount>(p, features, columns);
  const dim3 block = block_of(p.channels / p.offset_groups / (vector ? kCount : 1));
  auto* kernel = vector ? &columns_kernel<T, kCount> : &columns_kernel<T, 1>;
  MRCNN_LAUNCH(kernel, grid_of(units_of(p), block), block, stream, p, features, offsets, mask, columns);
  return last_error();
}

template <typename T>
const char* backward(const Params& p, const T* upstream, const T* features, const float* offsets, const float* mask,
                     float* to_features, float* to_offsets, float* to_mask, void* stream) {
  constexpr int kCount = 4;
  const cudaStream_t s = static_cast<cudaStream_t>(stream);
  const int64_t map_size = static_cast<int64_t>(p.batch) * p.height * p.width * p.channels;
  cudaMemsetAsync(to_features, 0, map_size * sizeof(float), s);
  cudaMemsetAsync(to_offsets, 0, 2 * units_of(p) * sizeof(float), s);
  if (p.modulated) cudaMemsetAsync(to_mask, 0, units_of(p) * sizeof(float), s);
  if (units_of(p) * p.channels == 0) return last_error();
  const bool vector = packs<T, kCount>(p, upstream, features) && reinterpret_cast<uintptr_t>(to_features) % 16 == 0;
  const dim3 block = block_of(p.channels / p.offset_groups / (vector ? kCount : 1));
  auto* to_map = vector ? &features_kernel<T, kCount> : &features_kernel<T, 1>;
  MRCNN_LAUNCH(to_map, grid_of(units_of(p), block), block, stream, p, upstream, offsets, mask, to_features);
  const dim3 shared(kSharers, kThreads / kSharers, 1);
  auto* to_place = vector ? &offsets_kernel<T, kCount> : &offsets_kernel<T, 1>;
  MRCNN_LAUNCH(to_place, grid_of(units_of(p), shared), shared, stream, p, upstream, features, offsets, mask, to_offsets,
               to_mask);
  return last_error();
}

#define MRCNN_INSTANTIATE(T)                                                                                         \
  template const char* columns<T>(const Params&, const T*, const float*, const float*, T*, void*);                   \
  template const char* backward<T>(const Params&, const T*, const T*, const float*, const float*, float*, float*,    \
                                   float*, void*);
MRCNN_INSTANTIATE(float)
MRCNN_INSTANTIATE(Half)
MRCNN_INSTANTIATE(BFloat16)
#undef MRCNN_INSTANTIATE

}  // namespace cuda
}  // namespace deformable
}  // namespace mrcnn
