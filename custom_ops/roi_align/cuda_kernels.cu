// RoIAlign and RoIPool on CUDA. Includes no TensorFlow header: compiled by nvcc into the library and, through the shim
// in test/shim, by a C++ compiler into the tests.
//
// Channels lie side by side in memory, so threads along x take neighboring channels, up to 16 bytes each where pointers
// and the number of channels allow: every read and write of a warp is one run of memory. Threads along y take bins. All
// threads of a bin compute the same few sampling positions in registers; there is no shared memory and no barrier.
#include "../common/launch.h"
#include "kernels.h"

namespace mrcnn {
namespace cuda {
namespace {

__global__ void place_kernel(MRCNN_CONSTANT Params p, const float* boxes, const int* image, Roi* rois, int* first_fault) {
  const int r = blockIdx.x * blockDim.x + threadIdx.x;
  if (r >= p.num_rois) return;
  Roi roi;
  const Fault fault = place_roi(p, boxes + 4 * static_cast<int64_t>(r), image[r], &roi);
  rois[r] = roi;
  if (fault != kNoFault && first_fault != nullptr) atomicMin(first_fault, r);
}

struct Maps {
  const void* level[kMaxLevels];
};
struct Sums {
  float* level[kMaxLevels];
};

template <typename T, int kCount>
__global__ void __launch_bounds__(kThreads) forward_kernel(MRCNN_CONSTANT Params p, MRCNN_CONSTANT Maps maps, const Roi* rois, T* pooled) {
  using P = Pack<T, kCount>;
  const int groups = p.channels / kCount, bins = p.bins_y * p.bins_x;
  const int64_t units = static_cast<int64_t>(p.num_rois) * bins;
  for (int64_t unit = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; unit < units;
       unit += static_cast<int64_t>(gridDim.x) * blockDim.y) {
    const int r = static_cast<int>(unit / bins), bin = static_cast<int>(unit - static_cast<int64_t>(r) * bins);
    const int i = bin / p.bins_x, j = bin - i * p.bins_x;
    const Roi roi = rois[r];
    const bool adaptive = p.sampling_ratio == 0;
    P* out = reinterpret_cast<P*>(pooled + unit * p.channels);
    for (int g = threadIdx.x; g < groups; g += blockDim.x) {
      float sum[kCount];
MRCNN_UNROLL
      for (int k = 0; k < kCount; ++k) sum[k] = 0.0f;
      if (roi.image >= 0) {
        const Level level = p.levels[roi.level];
        const P* map = static_cast<const P*>(maps.level[roi.level]) +
                       static_cast<int64_t>(roi.image) * level.height * level.width * groups + g;
        const float share = 1.0f / (static_cast<float>(roi.samples_y) * static_cast<float>(roi.samples_x));
        int y_first, y_end, x_first, x_end;
        sample_range(roi.start_y, roi.bin_y, roi.samples_y, level.height, i, &y_first, &y_end);
        sample_range(roi.start_x, roi.bin_x, roi.samples_x, level.width, j, &x_first, &x_end);
        for (int sy = y_first; sy < y_end; ++sy) {
          int y0, y1;
          float ly;
          if (!axis_sample(roi.start_y, roi.bin_y, roi.samples_y, adaptive, level.height, i, sy, &y0, &y1, &ly)) {
            continue;
          }
          const P* row0 = map + static_cast<int64_t>(y0) * level.width * groups;
          const P* row1 = map + static_cast<int64_t>(y1) * level.width * groups;
          for (int sx = x_first; sx < x_end; ++sx) {
            int x0, x1;
            float lx;
            if (!axis_sample(roi.start_x, roi.bin_x, roi.samples_x, adaptive, level.width, j, sx, &x0, &x1, &lx)) {
              continue;
            }
            const int64_t at0 = static_cast<int64_t>(x0) * groups, at1 = static_cast<int64_t>(x1) * groups;
            const P v00 = row0[at0], v01 = row0[at1], v10 = row1[at0], v11 = row1[at1];
            const float w00 = (1.0f - ly) * (1.0f - lx) * share, w01 = (1.0f - ly) * lx * share;
            const float w10 = ly * (1.0f - lx) * share, w11 = ly * lx * share;
MRCNN_UNROLL
            for (int k = 0; k < kCount; ++k) {
              sum[k] = fmaf(w00, to_float(v00.value[k]), sum[k]);
              sum[k] = fmaf(w01, to_float(v01.value[k]), sum[k]);
              sum[k] = fmaf(w10, to_float(v10.value[k]), sum[k]);
              sum[k] = fmaf(w11, to_float(v11.value[k]), sum[k]);
            }
          }
        }
      }
      P result;
MRCNN_UNROLL
      for (int k = 0; k < kCount; ++k) result.value[k] = from_float<T>(sum[k]);
      out[g] = result;
    }
  }
}

template <typename T, int kCount>
__global__ void __launch_bounds__(kThreads) backward_kernel(MRCNN_CONSTANT Params p, const T* upstream, const Roi* rois, MRCNN_CONSTANT Sums sums) {
  using P = Pack<T, kCount>;
  const int groups = p.channels / kCount, bins = p.bins_y * p.bins_x;
  const int64_t units = static_cast<int64_t>(p.num_rois) * bins;
  for (int64_t unit = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; unit < units;
       unit += static_cast<int64_t>(gridDim.x) * blockDim.y) {
    const int r = static_cast<int>(unit / bins), bin = static_cast<int>(unit - static_cast<int64_t>(r) * bins);
    const int i = bin / p.bins_x, j = bin - i * p.bins_x;
    const Roi roi = rois[r];
    if (roi.image < 0) continue;
    const bool adaptive = p.sampling_ratio == 0;
    const Level level = p.levels[roi.level];
    const float share = 1.0f / (static_cast<float>(roi.samples_y) * static_cast<float>(roi.samples_x));
    const P* up = reinterpret_cast<const P*>(upstream + unit * p.channels);
    for (int g = threadIdx.x; g < groups; g += blockDim.x) {
      const P packed = up[g];
      float value[kCount];
MRCNN_UNROLL
      for (int k = 0; k < kCount; ++k) value[k] = to_float(packed.value[k]) * share;
      float* map = sums.level[roi.level] +
                   static_cast<int64_t>(roi.image) * level.height * level.width * p.channels + g * kCount;
      int y_first, y_end, x_first, x_end;
      sample_range(roi.start_y, roi.bin_y, roi.samples_y, level.height, i, &y_first, &y_end);
      sample_range(roi.start_x, roi.bin_x, roi.samples_x, level.width, j, &x_first, &x_end);
      for (int sy = y_first; sy < y_end; ++sy) {
        int y0, y1;
        float ly;
        if (!axis_sample(roi.start_y, roi.bin_y, roi.samples_y, adaptive, level.height, i, sy, &y0, &y1, &ly)) continue;
        float* row0 = map + static_cast<int64_t>(y0) * level.width * p.channels;
        float* row1 = map + static_cast<int64_t>(y1) * level.width * p.channels;
        for (int sx = x_first; sx < x_end; ++sx) {
          int x0, x1;
          float lx;
          if (!axis_sample(roi.start_x, roi.bin_x, roi.samples_x, adaptive, level.width, j, sx, &x0, &x1, &lx)) {
            continue;
          }
          const int64_t at0 = static_cast<int64_t>(x0) * p.channels, at1 = static_cast<int64_t>(x1) * p.channels;
          add<kCount>(row0 + at0, (1.0f - ly) * (1.0f - lx), value);
          add<kCount>(row0 + at1, (1.0f - ly) * lx, value);
          add<kCount>(row1 + at0, ly * (1.0f - lx), value);
          add<kCount>(row1 + at1, ly * lx, value);
        }
      }
    }
  }
}

// Whether a RoI is too far from cell `cell` of an axis for any of its samples to read it. Cheap: most RoIs are.
__device__ __forceinline__ bool far_from(float start, float bin, int bins, int cell) {
  const float end = start + bin * static_cast<float>(bins), slack = 1.001f + 1e-5f * (fabsf(start) + fabsf(end));
  const float at = static_cast<float>(cell);
  return at < fminf(start, end) - slack || at > fmaxf(start, end) + slack;
}

// Bins [first, end) of a RoI that may read cell `cell` of an axis.
__device__ __forceinline__ void bins_at(float start, float bin, int bins, int size, int cell, int* first, int* end) {
  *first = 0;
  *end = bins;
  if (!(bin > 0.0f)) return;  // empty or inverted: all of them
  const float from = cell == 0 ? -1.0f : static_cast<float>(cell - 1);
  const float to = cell == size - 1 ? static_cast<float>(size) : static_cast<float>(cell + 1);
  const float slack = 1.0f + 1e-5f * (fabsf(start) + bin * static_cast<float>(bins)) / bin;
  const float low = (from - start) / bin - slack, high = (to - start) / bin + slack;
  if (low > 0.0f) *first = low < static_cast<float>(bins) ? static_cast<int>(low) : bins;
  if (high < static_cast<float>(bins)) *end = high > 0.0f ? static_cast<int>(high) + 1 : 0;
  if (*end > bins) *end = bins;
}

// The weight with which one bin reads one cell along one axis.
__device__ __forceinline__ float weight_at(float start, float bin, int samples, bool adaptive, int size, int index,
                                           int cell) {
  float weight = 0.0f;
  int first, end;
  sample_range(start, bin, samples, size, index, &first, &end);
  for (int sample = first; sample < end; ++sample) {
    int low, high;
    float fraction;
    if (!axis_sample(start, bin, samples, adaptive, size, index, sample, &low, &high, &fraction)) continue;
    if (low == cell) weight += 1.0f - fraction;
    if (high == cell) weight += fraction;
  }
  return weight / static_cast<float>(samples);
}

// One cell per y-thread: it goes through all RoIs of its image and level in order, so nothing depends on scheduling.
template <typename T, int kCount>
__global__ void __launch_bounds__(kThreads)
    gather_kernel(MRCNN_CONSTANT Params p, int level_index, const T* upstream, const Roi* rois, T* gradient) {
  using P = Pack<T, kCount>;
  const int groups = p.channels / kCount;
  const bool adaptive = p.sampling_ratio == 0;
  const Level level = p.levels[level_index];
  const int64_t cells = static_cast<int64_t>(level.height) * level.width, units = cells * p.batch;
  for (int64_t unit = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; unit < units;
       unit += static_cast<int64_t>(gridDim.x) * blockDim.y) {
    const int image = static_cast<int>(unit / cells);
    const int cell = static_cast<int>(unit - image * cells), y = cell / level.width, x = cell - y * level.width;
    for (int g = threadIdx.x; g < groups; g += blockDim.x) {
      float sum[kCount];
MRCNN_UNROLL
      for (int k = 0; k < kCount; ++k) sum[k] = 0.0f;
      for (int r = 0; r < p.num_rois; ++r) {
        const Roi roi = rois[r];
        if (roi.image != image || roi.level != level_index) continue;
        if (far_from(roi.start_y, roi.bin_y, p.bins_y, y) || far_from(roi.start_x, roi.bin_x, p.bins_x, x)) continue;
        int i_first, i_end, j_first, j_end;
        bins_at(roi.start_y, roi.bin_y, p.bins_y, level.height, y, &i_first, &i_end);
        bins_at(roi.start_x, roi.bin_x, p.bins_x, level.width, x, &j_first, &j_end);
        if (i_first >= i_end || j_first >= j_end) continue;
        for (int i = i_first; i < i_end; ++i) {
          const float wy = weight_at(roi.start_y, roi.bin_y, roi.samples_y, adaptive, level.height, i, y);
          if (wy == 0.0f) continue;
          for (int j = j_first; j < j_end; ++j) {
            const float w = wy * weight_at(roi.start_x, roi.bin_x, roi.samples_x, adaptive, level.width, j, x);
            if (w == 0.0f) continue;
            const int64_t bin = (static_cast<int64_t>(r) * p.bins_y + i) * p.bins_x + j;
            const P up = reinterpret_cast<const P*>(upstream + bin * p.channels)[g];
MRCNN_UNROLL
            for (int k = 0; k < kCount; ++k) sum[k] = fmaf(w, to_float(up.value[k]), sum[k]);
          }
        }
      }
      P result;
MRCNN_UNROLL
      for (int k = 0; k < kCount; ++k) result.value[k] = from_float<T>(sum[k]);
      reinterpret_cast<P*>(gradient + unit * p.channels)[g] = result;
    }
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    pool_forward_kernel(MRCNN_CONSTANT Params p, const T* features, const float* boxes, const int* image, T* pooled, int* argmax) {
  const int bins = p.bins_y * p.bins_x;
  const Level level = p.levels[0];
  const int64_t units = static_cast<int64_t>(p.num_rois) * bins;
  for (int64_t unit = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; unit < units;
       unit += static_cast<int64_t>(gridDim.x) * blockDim.y) {
    const int r = static_cast<int>(unit / bins), bin = static_cast<int>(unit - static_cast<int64_t>(r) * bins);
    const float* box = boxes + 4 * static_cast<int64_t>(r);
    Roi roi;
    place_roi(p, box, image[r], &roi);
    int y0 = 0, y1 = 0, x0 = 0, x1 = 0;
    if (roi.image >= 0) {
      pool_range(box[0], box[2] + p.end_offset, level.scale, p.bins_y, level.height, bin / p.bins_x, &y0, &y1);
      pool_range(box[1], box[3] + p.end_offset, level.scale, p.bins_x, level.width, bin % p.bins_x, &x0, &x1);
    }
    for (int c = threadIdx.x; c < p.channels; c += blockDim.x) {
      float best = -3.4028234663852886e38f;
      int where = -1;
      for (int y = y0; y < y1; ++y) {
        for (int x = x0; x < x1; ++x) {
          const int cell = y * level.width + x;
          const int64_t at = static_cast<int64_t>(roi.image) * level.height * level.width + cell;
          const float value = to_float(features[at * p.channels + c]);
          if (value > best) {
            best = value;
            where = cell;
          }
        }
      }
      pooled[unit * p.channels + c] = from_float<T>(where < 0 ? 0.0f : best);
      argmax[unit * p.channels + c] = where;
    }
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    pool_backward_kernel(MRCNN_CONSTANT Params p, const T* upstream, const int* argmax, const int* image, float* gradient) {
  const int bins = p.bins_y * p.bins_x, cells = p.levels[0].height * p.levels[0].width;
  const int64_t units = static_cast<int64_t>(p.num_rois) * bins;
  for (int64_t unit = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; unit < units;
       unit += static_cast<int64_t>(gridDim.x) * blockDim.y) {
    const int own = image[unit / bins];
    if (own < 0 || own >= p.batch) continue;
    for (int c = threadIdx.x; c < p.channels; c += blockDim.x) {
      const int64_t at = unit * p.channels + c;
      const int where = argmax[at];
      if (where < 0 || where >= cells) continue;
      atomicAdd(gradient + (static_cast<int64_t>(own) * cells + where) * p.channels + c, to_float(upstream[at]));
    }
  }
}

// One thread per image and channel, which alone adds to them, RoIs in order.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    pool_gather_kernel(MRCNN_CONSTANT Params p, const T* upstream, const int* argmax, const int* image, float* gradient) {
  const int bins = p.bins_y * p.bins_x, cells = p.levels[0].height * p.levels[0].width;
  for (int own = blockIdx.x * blockDim.y + threadIdx.y; own < p.batch; own += gridDim.x * blockDim.y) {
    for (int c = threadIdx.x; c < p.channels; c += blockDim.x) {
      for (int r = 0; r < p.num_rois; ++r) {
        if (image[r] != own) continue;
        for (int bin = 0; bin < bins; ++bin) {
          const int64_t at = (static_cast<int64_t>(r) * bins + bin) * p.channels + c;
          const int where = argmax[at];
          if (where < 0 || where >= cells) continue;
          gradient[(static_cast<int64_t>(own) * cells + where) * p.channels + c] += to_float(upstream[at]);
        }
      }
    }
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) convert_kernel(const float* in, T* out, int64_t count) {
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    out[i] = from_float<T>(in[i]);
  }
}

int64_t map_size(const Params& p, int level) {
  return static_cast<int64_t>(p.batch) * p.levels[level].height * p.levels[level].width * p.channels;
}

}  // namespace

const char* place(const Params& p, const float* boxes, const int* image, Roi* rois, int* first, FaultAt* fault,
                  void* stream) {
  const cudaStream_t s = static_cast<cudaStream_t>(stream);
  if (fault != nullptr) {
    *fault = FaultAt{};
    cudaMemsetAsync(first, 0x7f, sizeof(int), s);
  }
  if (p.num_rois > 0) {
    auto* kernel = &place_kernel;
    MRCNN_LAUNCH(kernel, dim3((p.num_rois + kThreads - 1) / kThreads, 1, 1), dim3(kThreads, 1, 1), stream, p, boxes,
                 image, rois, fault == nullptr ? nullptr : first);
  }
  if (fault == nullptr || p.num_rois == 0) return last_error();
  int r = 0;
  cudaMemcpyAsync(&r, first, sizeof(int), cudaMemcpyDeviceToHost, s);
  cudaStreamSynchronize(s);
  const char* error = last_error();
  if (error != nullptr || r < 0 || r >= p.num_rois) return error;
  cudaMemcpyAsync(fault->box, boxes + 4 * static_cast<int64_t>(r), sizeof(fault->box), cudaMemcpyDeviceToHost, s);
  cudaMemcpyAsync(&fault->image, image + r, sizeof(int), cudaMemcpyDeviceToHost, s);
  cudaStreamSynchronize(s);
  Roi roi;
  fault->roi = r;
  fault->fault = place_roi(p, fault->box, fault->image, &roi);
  return last_error();
}

template <typename T>
const char* forward(const Params& p, const T* const* features, const Roi* rois, T* pooled, void* stream) {
  constexpr int kCount = 16 / sizeof(T);
  Maps maps = {};
  bool vector = packs<T, kCount>(p.channels, pooled);
  for (int level = 0; level < p.num_levels; ++level) {
    maps.level[level] = features[level];
    vector = vector && packs<T, kCount>(p.channels, features[level]);
  }
  const dim3 block = block_of(vector ? p.channels / kCount : p.channels);
  const dim3 grid = grid_of(static_cast<int64_t>(p.num_rois) * p.bins_y * p.bins_x, block);
  auto* kernel = vector ? &forward_kernel<T, kCount> : &forward_kernel<T, 1>;
  MRCNN_LAUNCH(kernel, grid, block, stream, p, maps, rois, pooled);
  return last_error();
}

template <typename T>
const char* backward(const Params& p, const T* upstream, const Roi* rois, float* const* gradient, void* stream) {
  constexpr int kCount = 4;  // eight would spill registers on sm_90, and the additions are single ones anyway
  Sums sums = {};
  bool vector = packs<T, kCount>(p.channels, upstream);
  for (int level = 0; level < p.num_levels; ++level) {
    sums.level[level] = gradient[level];
    vector = vector && reinterpret_cast<uintptr_t>(gradient[level]) % 16 == 0;
    cudaMemsetAsync(gradient[level], 0, map_size(p, level) * sizeof(float), static_cast<cudaStream_t>(stream));
  }
  const int64_t units = static_cast<int64_t>(p.num_rois) * p.bins_y * p.bins_x;
  if (units * p.channels == 0) return last_error();
  const dim3 block = block_of(vector ? p.channels / kCount : p.channels);
  auto* kernel = vector ? &backward_kernel<T, kCount> : &backward_kernel<T, 1>;
  MRCNN_LAUNCH(kernel, grid_of(units, block), block, stream, p, upstream, rois, sums);
  return last_error();
}

template <typename T>
const char* backward_deterministic(const Params& p, const T* upstream, const Roi* rois, T* const* gradient,
                                   void* stream) {
  constexpr int kCount = 16 / sizeof(T);
  for (int level = 0; level < p.num_levels; ++level) {
    if (map_size(p, level) == 0) continue;
    const bool vector = packs<T, kCount>(p.channels, upstream) && packs<T, kCount>(p.channels, gradient[level]);
    const dim3 block = block_of(vector ? p.channels / kCount : p.channels);
    const dim3 grid = grid_of(map_size(p, level) / p.channels, block);
    auto* kernel = vector ? &gather_kernel<T, kCount> : &gather_kernel<T, 1>;
    MRCNN_LAUNCH(kernel, grid, block, stream, p, level, upstream, rois, gradient[level]);
  }
  return last_error();
}

template <typename T>
const char* pool_forward(const Params& p, const T* features, const float* boxes, const int* image, T* pooled,
                         int* argmax, void* stream) {
  const dim3 block = block_of(p.channels);
  const dim3 grid = grid_of(static_cast<int64_t>(p.num_rois) * p.bins_y * p.bins_x, block);
  auto* kernel = &pool_forward_kernel<T>;
  MRCNN_LAUNCH(kernel, grid, block, stream, p, features, boxes, image, pooled, argmax);
  return last_error();
}

template <typename T>
const char* pool_backward(const Params& p, const T* upstream, const int* argmax, const int* image, bool deterministic,
                          float* gradient, void* stream) {
  cudaMemsetAsync(gradient, 0, map_size(p, 0) * sizeof(float), static_cast<cudaStream_t>(stream));
  const int64_t units = static_cast<int64_t>(p.num_rois) * p.bins_y * p.bins_x;
  if (units * p.channels == 0) return last_error();
  const dim3 block = block_of(p.channels);
  auto* kernel = deterministic ? &pool_gather_kernel<T> : &pool_backward_kernel<T>;
  MRCNN_LAUNCH(kernel, grid_of(deterministic ? p.batch : units, block), block, stream, p, upstream, argmax, image,
               gradient);
  return last_error();
}

template <typename T>
const char* convert(const float* in, T* out, int64_t count, void* stream) {
  if (count == 0) return nullptr;
  const int64_t blocks = (count + kThreads - 1) / kThreads;
  auto* kernel = &convert_kernel<T>;
  MRCNN_LAUNCH(kernel, dim3(static_cast<unsigned>(blocks > 65535 ? 65535 : blocks), 1, 1), dim3(kThreads, 1, 1), stream,
               in, out, count);
  return last_error();
}

#define MRCNN_INSTANTIATE(T)                                                                                          \
  template const char* forward<T>(const Params&, const T* const*, const Roi*, T*, void*);                             \
  template const char* backward<T>(const Params&, const T*, const Roi*, float* const*, void*);                        \
  template const char* backward_deterministic<T>(const Params&, const T*, const Roi*, T* const*, void*);              \
  template const char* pool_forward<T>(const Params&, const T*, const float*, const int*, T*, int*, void*);           \
  template const char* pool_backward<T>(const Params&, const T*, const int*, const int*, bool, float*, void*);        \
  template const char* convert<T>(const float*, T*, int64_t, void*);
MRCNN_INSTANTIATE(float)
MRCNN_INSTANTIATE(Half)
MRCNN_INSTANTIATE(BFloat16)
#undef MRCNN_INSTANTIATE

}  // namespace cuda
}  // namespace mrcnn

#if defined(__CUDACC__)
// nullptr if the kernels can run on the first GPU, else CUDA's message: no driver, one that is too old, or a GPU that
// nothing was compiled for.
extern "C" const char* mrcnn_cuda_problem() {
  cudaFuncAttributes attributes;
  const cudaError_t error = cudaFuncGetAttributes(&attributes, mrcnn::cuda::place_kernel);
  cudaGetLastError();  // reported here; the first launch must not report it again
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}
#endif
