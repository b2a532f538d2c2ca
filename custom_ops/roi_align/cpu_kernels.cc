// RoIAlign and RoIPool on the CPU.
//
// Per bin the cells it reads and their weights are written down once; the innermost loops then run over channels, which
// lie side by side, in blocks held in vector registers. Each such loop is compiled for several instruction sets and
// chosen at run time, so that a library built on one machine runs on another.
#include <string.h>

#include <algorithm>
#include <vector>

#include "kernels.h"
#include "taps.h"

#if defined(__x86_64__)
#define MRCNN_AVX2 __attribute__((target("avx2,fma")))
#define MRCNN_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")))
#endif
#define MRCNN_INLINE inline __attribute__((always_inline))

namespace mrcnn {
namespace cpu {
namespace {

constexpr int kCacheLine = 16;  // floats
constexpr int kVectors = 4;     // vector registers summed into at once

// `kLanes` numbers side by side. The compiler's own vector type, because it does not turn an array of sums that is kept
// over the taps of a bin into registers by itself.
template <int kLanes>
struct Vector;
#define MRCNN_VECTOR(LANES)                                                          \
  template <>                                                                        \
  struct Vector<LANES> {                                                             \
    typedef float Floats __attribute__((vector_size(4 * LANES)));                    \
    typedef uint32_t Words __attribute__((vector_size(4 * LANES)));                  \
    typedef uint16_t Shorts __attribute__((vector_size(2 * LANES)));                 \
  };
MRCNN_VECTOR(4)
MRCNN_VECTOR(8)
MRCNN_VECTOR(16)
#undef MRCNN_VECTOR

template <int kLanes>
MRCNN_INLINE void load(const float* from, typename Vector<kLanes>::Floats* to) {
  memcpy(to, from, sizeof(*to));
}
template <int kLanes>
MRCNN_INLINE void load(const BFloat16* from, typename Vector<kLanes>::Floats* to) {
  typename Vector<kLanes>::Shorts bits;
  memcpy(&bits, from, sizeof(bits));
  *to = (typename Vector<kLanes>::Floats)(__builtin_convertvector(bits, typename Vector<kLanes>::Words) << 16);
}
template <int kLanes>
MRCNN_INLINE void load(const Half* from, typename Vector<kLanes>::Floats* to) {  // see to_float(Half)
  typedef typename Vector<kLanes>::Floats Floats;
  typedef typename Vector<kLanes>::Words Words;
  typename Vector<kLanes>::Shorts half;
  memcpy(&half, from, sizeof(half));
  const Words word = __builtin_convertvector(half, Words), magnitude = word & 0x7fffu;
  Words bits = (magnitude << 13) + (112u << 23);
  bits = magnitude >= 0x7c00u ? bits + (112u << 23) : bits;
  bits = magnitude < 0x0400u ? (Words)((Floats)(bits + (1u << 23)) - 6.103515625e-05f) : bits;
  *to = (Floats)(bits | ((word & 0x8000u) << 16));
}

template <int kLanes>
MRCNN_INLINE void store(const typename Vector<kLanes>::Floats& value, float* to) {
  memcpy(to, &value, sizeof(value));
}
template <int kLanes>
MRCNN_INLINE void store(const typename Vector<kLanes>::Floats& value, BFloat16* to) {  // see from_float<BFloat16>
  typedef typename Vector<kLanes>::Words Words;
  const Words bits = (Words)value;
  Words rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  rounded = (bits & 0x7fffffffu) > 0x7f800000u ? rounded * 0u + 0x7fc0u : rounded;
  const typename Vector<kLanes>::Shorts out = __builtin_convertvector(rounded, typename Vector<kLanes>::Shorts);
  memcpy(to, &out, sizeof(out));
}
template <int kLanes>
MRCNN_INLINE void store(const typename Vector<kLanes>::Floats& value, Half* to) {  // see from_float<Half>
  typedef typename Vector<kLanes>::Floats Floats;
  typedef typename Vector<kLanes>::Words Words;
  const Words bits = (Words)value, magnitude = bits & 0x7fffffffu, none = bits * 0u;
  const Words subnormal = (Words)((Floats)magnitude + 0.5f) - 0x3f000000u;
  Words half = (magnitude - (112u << 23) + 0x0fffu + ((magnitude >> 13) & 1u)) >> 13;
  half = magnitude < 0x38800000u ? subnormal : half;
  half = magnitude >= 0x47800000u ? none + 0x7c00u : half;
  half = magnitude > 0x7f800000u ? none + 0x7e00u : half;
  half |= (bits >> 16) & 0x8000u;
  const typename Vector<kLanes>::Shorts out = __builtin_convertvector(half, typename Vector<kLanes>::Shorts);
  memcpy(to, &out, sizeof(out));
}

// Sums over the cells of one bin for `kCount` vectors of channels. source[t]: features of tap t.
template <int kLanes, int kCount, typename T>
MRCNN_INLINE void gather_block(const T* const* source, const float* weight, int taps, int c, T* out) {
  typename Vector<kLanes>::Floats sum[kCount] = {}, value;
  for (int t = 0; t < taps; ++t) {
    const T* from = source[t] + c;
    const float w = weight[t];
#pragma GCC unroll 4
    for (int k = 0; k < kCount; ++k) {
      load<kLanes>(from + k * kLanes, &value);
      sum[k] += w * value;
    }
  }
#pragma GCC unroll 4
  for (int k = 0; k < kCount; ++k) store<kLanes>(sum[k], out + c + k * kLanes);
}

template <int kLanes, typename T>
MRCNN_INLINE void gather_body(const T* const* source, const float* weight, int taps, int channels, T* out) {
  int c = 0;
  for (; c + kVectors * kLanes <= channels; c += kVectors * kLanes) {
    gather_block<kLanes, kVectors>(source, weight, taps, c, out);
  }
  for (; c + kLanes <= channels; c += kLanes) gather_block<kLanes, 1>(source, weight, taps, c, out);
  for (; c < channels; ++c) {
    float sum = 0.0f;
    for (int t = 0; t < taps; ++t) sum += weight[t] * to_float(source[t][c]);
    out[c] = from_float<T>(sum);
  }
}

// The transpose: adds weight[t] * upstream to target[t].
template <int kLanes, int kCount, typename T>
MRCNN_INLINE void scatter_block(float* const* target, const float* weight, int taps, int c, const T* upstream) {
  typename Vector<kLanes>::Floats value[kCount], sum;
#pragma GCC unroll 4
  for (int k = 0; k < kCount; ++k) load<kLanes>(upstream + c + k * kLanes, &value[k]);
  for (int t = 0; t < taps; ++t) {
    float* to = target[t] + c;
    const float w = weight[t];
#pragma GCC unroll 4
    for (int k = 0; k < kCount; ++k) {
      load<kLanes>(to + k * kLanes, &sum);
      sum += w * value[k];
      store<kLanes>(sum, to + k * kLanes);
    }
  }
}

template <int kLanes, typename T>
MRCNN_INLINE void scatter_body(float* const* target, const float* weight, int taps, int channels, const T* upstream) {
  int c = 0;
  for (; c + kVectors * kLanes <= channels; c += kVectors * kLanes) {
    scatter_block<kLanes, kVectors>(target, weight, taps, c, upstream);
  }
  for (; c + kLanes <= channels; c += kLanes) scatter_block<kLanes, 1>(target, weight, taps, c, upstream);
  for (; c < channels; ++c) {
    const float value = to_float(upstream[c]);
    for (int t = 0; t < taps; ++t) target[t][c] += weight[t] * value;
  }
}

// Maximum over the cells of a bin, taken in order: the first of equals wins.
template <typename T>
MRCNN_INLINE void max_body(const T* source, const int* cell, int cells, int64_t stride, int channels, float* best,
                           int* argmax) {
  for (int c = 0; c < channels; ++c) {
    best[c] = -3.4028234663852886e38f;
    argmax[c] = -1;
  }
  for (int t = 0; t < cells; ++t) {
    const T* from = source + cell[t] * stride;
    const int here = cell[t];
    for (int c = 0; c < channels; ++c) {
      const float value = to_float(from[c]);
      const bool more = value > best[c];
      best[c] = more ? value : best[c];
      argmax[c] = more ? here : argmax[c];
    }
  }
}

template <typename T>
struct Loops {
  void (*gather)(const T* const*, const float*, int, int, T*);
  void (*scatter)(float* const*, const float*, int, int, const T*);
  void (*max)(const T*, const int*, int, int64_t, int, float*, int*);
};

#define MRCNN_LOOPS(NAME, LANES, TARGET)                                                                            \
  template <typename T>                                                                                         \
  TARGET void gather_##NAME(const T* const* source, const float* weight, int taps, int channels, T* out) {      \
    gather_body<LANES>(source, weight, taps, channels, out);                                                        \
  }                                                                                                             \
  template <typename T>                                                                                         \
  TARGET void scatter_##NAME(float* const* target, const float* weight, int taps, int channels, const T* up) {  \
    scatter_body<LANES>(target, weight, taps, channels, up);                                                        \
  }                                                                                                             \
  template <typename T>                                                                                         \
  TARGET void max_##NAME(const T* source, const int* cell, int cells, int64_t stride, int channels, float* best, \
                         int* argmax) {                                                                         \
    max_body<T>(source, cell, cells, stride, channels, best, argmax);                                           \
  }

MRCNN_LOOPS(base, 4, )
#if defined(__x86_64__)
MRCNN_LOOPS(avx2, 8, MRCNN_AVX2)
MRCNN_LOOPS(avx512, 16, MRCNN_AVX512)
#endif

template <typename T>
Loops<T> loops() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("fma")) {
    return {gather_avx512<T>, scatter_avx512<T>, max_avx512<T>};
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return {gather_avx2<T>, scatter_avx2<T>, max_avx2<T>};
  }
#endif
  return {gather_base<T>, scatter_base<T>, max_base<T>};
}

struct RoiTaps {
  Roi roi;
  AxisTaps y, x;
};

void make_roi_taps(const Params& p, const float* box, int image, RoiTaps* taps) {
  place_roi(p, box, image, &taps->roi);
  if (taps->roi.image < 0) return;
  const Roi& roi = taps->roi;
  const Level& level = p.levels[roi.level];
  const bool adaptive = p.sampling_ratio == 0;
  make_taps(roi.start_y, roi.bin_y, roi.samples_y, adaptive, level.height, p.bins_y, &taps->y);
  make_taps(roi.start_x, roi.bin_x, roi.samples_x, adaptive, level.width, p.bins_x, &taps->x);
}

// The cells of bin (i, j) as pointers into `map`, the features of the RoI's picture on its level, and their weights.
template <typename P>
void list_taps(const RoiTaps& taps, int i, int j, P map, int width, int64_t channels, std::vector<P>* pointer,
               std::vector<float>* weight) {
  pointer->clear();
  weight->clear();
  for (int a = taps.y.first[i]; a < taps.y.first[i + 1]; ++a) {
    const Tap& y = taps.y.taps[a];
    const P row = map + static_cast<int64_t>(y.cell) * width * channels;
    for (int b = taps.x.first[j]; b < taps.x.first[j + 1]; ++b) {
      const Tap& x = taps.x.taps[b];
      pointer->push_back(row + x.cell * channels);
      weight->push_back(y.weight * x.weight);
    }
  }
}

int64_t map_size(const Params& p, int level) {
  return static_cast<int64_t>(p.levels[level].height) * p.levels[level].width * p.channels;
}

void set_zero(float* out, int64_t count, const ParallelFor& parallel_for) {
  parallel_for((count + 4095) / 4096, 1024, [&](int64_t begin, int64_t end) {
    std::fill(out + begin * 4096, out + std::min(end * 4096, count), 0.0f);
  });
}

// Channels per task of a gradient: a task owns these channels of one picture's maps, so that nobody else adds to them.
// Multiples of a cache line, few enough that every thread has work.
int owned_channels(const Params& p, int num_threads) {
  int channels = 128;
  while (channels > kCacheLine && static_cast<int64_t>(p.batch) * ((p.channels + channels - 1) / channels) < 2 * num_threads) {
    channels /= 2;
  }
  return channels;
}

std::vector<std::vector<int>> rois_of_images(const Params& p, const int* image) {
  std::vector<std::vector<int>> rois(p.batch);
  for (int r = 0; r < p.num_rois; ++r) {
    if (image[r] >= 0 && image[r] < p.batch) rois[image[r]].push_back(r);
  }
  return rois;
}

}  // namespace

FaultAt check(const Params& p, const float* boxes, const int* image) {
  FaultAt at = {};
  Roi roi;
  for (int r = 0; r < p.num_rois; ++r) {
    at.fault = place_roi(p, boxes + 4 * r, image[r], &roi);
    if (at.fault == kNoFault) continue;
    at.roi = r;
    at.image = image[r];
    std::copy(boxes + 4 * r, boxes + 4 * r + 4, at.box);
    break;
  }
  return at;
}

template <typename T>
void forward(const Params& p, const T* const* features, const float* boxes, const int* image, T* pooled,
             const ParallelFor& parallel_for) {
  const Loops<T> loop = loops<T>();
  const int64_t bins = static_cast<int64_t>(p.bins_y) * p.bins_x, roi_size = bins * p.channels;
  const int64_t cost = roi_size * std::max(4, 4 * p.sampling_ratio * p.sampling_ratio) / kCacheLine + 500;
  parallel_for(p.num_rois, cost, [&](int64_t begin, int64_t end) {
    RoiTaps taps;
    std::vector<const T*> source;
    std::vector<float> weight;
    for (int64_t r = begin; r < end; ++r) {
      T* out = pooled + r * roi_size;
      make_roi_taps(p, boxes + 4 * r, image[r], &taps);
      if (taps.roi.image < 0) {
        std::fill(out, out + roi_size, from_float<T>(0.0f));
        continue;
      }
      const int level = taps.roi.level;
      const T* map = features[level] + taps.roi.image * map_size(p, level);
      for (int i = 0; i < p.bins_y; ++i) {
        for (int j = 0; j < p.bins_x; ++j, out += p.channels) {
          list_taps(taps, i, j, map, p.levels[level].width, p.channels, &source, &weight);
          loop.gather(source.data(), weight.data(), static_cast<int>(source.size()), p.channels, out);
        }
      }
    }
  });
}

template <typename T>
void backward(const Params& p, const T* upstream, const float* boxes, const int* image, float* const* gradient,
              int num_threads, const ParallelFor& parallel_for) {
  const Loops<T> loop = loops<T>();
  for (int level = 0; level < p.num_levels; ++level) {
    set_zero(gradient[level], p.batch * map_size(p, level), parallel_for);
  }
  std::vector<RoiTaps> taps(p.num_rois);
  parallel_for(p.num_rois, 2000, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) make_roi_taps(p, boxes + 4 * r, image[r], &taps[r]);
  });
  const std::vector<std::vector<int>> rois = rois_of_images(p, image);
  const int owned = owned_channels(p, num_threads);
  const int64_t parts = (p.channels + owned - 1) / owned, bins = static_cast<int64_t>(p.bins_y) * p.bins_x;
  const int64_t cost = bins * p.num_rois / std::max(p.batch, 1) * owned;
  parallel_for(p.batch * parts, cost + 1, [&](int64_t begin, int64_t end) {
    std::vector<float*> target;
    std::vector<float> weight;
    for (int64_t task = begin; task < end; ++task) {
      const int picture = static_cast<int>(task / parts), c = static_cast<int>(task % parts) * owned;
      const int channels = std::min(owned, p.channels - c);
      for (const int r : rois[picture]) {
        const Roi& roi = taps[r].roi;
        if (roi.image < 0) continue;
        float* map = gradient[roi.level] + roi.image * map_size(p, roi.level) + c;
        const T* up = upstream + r * bins * p.channels + c;
        for (int i = 0; i < p.bins_y; ++i) {
          for (int j = 0; j < p.bins_x; ++j, up += p.channels) {
            list_taps(taps[r], i, j, map, p.levels[roi.level].width, p.channels, &target, &weight);
            loop.scatter(target.data(), weight.data(), static_cast<int>(target.size()), channels, up);
          }
        }
      }
    }
  });
}

template <typename T>
void pool_forward(const Params& p, const T* features, const float* boxes, const int* image, T* pooled, int* argmax,
                  const ParallelFor& parallel_for) {
  const Loops<T> loop = loops<T>();
  const Level& level = p.levels[0];
  const int64_t roi_size = static_cast<int64_t>(p.bins_y) * p.bins_x * p.channels;
  parallel_for(p.num_rois, roi_size * 8 + 500, [&](int64_t begin, int64_t end) {
    std::vector<int> cells;
    std::vector<float> best(p.channels);
    Roi roi;
    for (int64_t r = begin; r < end; ++r) {
      T* out = pooled + r * roi_size;
      int* where = argmax + r * roi_size;
      const float* box = boxes + 4 * r;
      place_roi(p, box, image[r], &roi);
      if (roi.image < 0) {
        std::fill(out, out + roi_size, from_float<T>(0.0f));
        std::fill(where, where + roi_size, -1);
        continue;
      }
      const T* map = features + roi.image * map_size(p, 0);
      for (int i = 0; i < p.bins_y; ++i) {
        int y0, y1, x0, x1;
        pool_range(box[0], box[2] + p.end_offset, level.scale, p.bins_y, level.height, i, &y0, &y1);
        for (int j = 0; j < p.bins_x; ++j, out += p.channels, where += p.channels) {
          pool_range(box[1], box[3] + p.end_offset, level.scale, p.bins_x, level.width, j, &x0, &x1);
          cells.clear();
          for (int y = y0; y < y1; ++y) {
            for (int x = x0; x < x1; ++x) cells.push_back(y * level.width + x);
          }
          loop.max(map, cells.data(), static_cast<int>(cells.size()), p.channels, p.channels, best.data(), where);
          for (int c = 0; c < p.channels; ++c) out[c] = from_float<T>(where[c] < 0 ? 0.0f : best[c]);
        }
      }
    }
  });
}

template <typename T>
void pool_backward(const Params& p, const T* upstream, const int* argmax, const int* image, float* gradient,
                   int num_threads, const ParallelFor& parallel_for) {
  set_zero(gradient, p.batch * map_size(p, 0), parallel_for);
  const std::vector<std::vector<int>> rois = rois_of_images(p, image);
  const int owned = owned_channels(p, num_threads);
  const int64_t parts = (p.channels + owned - 1) / owned, bins = static_cast<int64_t>(p.bins_y) * p.bins_x;
  const int64_t cells = static_cast<int64_t>(p.levels[0].height) * p.levels[0].width;
  const int64_t cost = bins * p.num_rois / std::max(p.batch, 1) * owned;
  parallel_for(p.batch * parts, cost + 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int picture = static_cast<int>(task / parts), from = static_cast<int>(task % parts) * owned;
      const int to = std::min(from + owned, p.channels);
      float* map = gradient + picture * map_size(p, 0);
      for (const int r : rois[picture]) {
        for (int64_t bin = r * bins; bin < (r + 1) * bins; ++bin) {
          for (int c = from; c < to; ++c) {
            const int64_t at = bin * p.channels + c;
            if (argmax[at] >= 0 && argmax[at] < cells) {
              map[static_cast<int64_t>(argmax[at]) * p.channels + c] += to_float(upstream[at]);
            }
          }
        }
      }
    }
  });
}

template <typename T>
void convert(const float* in, T* out, int64_t count, const ParallelFor& parallel_for) {
  parallel_for((count + 4095) / 4096, 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * 4096; i < std::min(end * 4096, count); ++i) out[i] = from_float<T>(in[i]);
  });
}

#define MRCNN_INSTANTIATE(T)                                                                                          \
  template void forward<T>(const Params&, const T* const*, const float*, const int*, T*, const ParallelFor&);         \
  template void backward<T>(const Params&, const T*, const float*, const int*, float* const*, int,                    \
                            const ParallelFor&);                                                                      \
  template void pool_forward<T>(const Params&, const T*, const float*, const int*, T*, int*, const ParallelFor&);     \
  template void pool_backward<T>(const Params&, const T*, const int*, const int*, float*, int, const ParallelFor&);   \
  template void convert<T>(const float*, T*, int64_t, const ParallelFor&);
MRCNN_INSTANTIATE(float)
MRCNN_INSTANTIATE(Half)
MRCNN_INSTANTIATE(BFloat16)
#undef MRCNN_INSTANTIATE

}  // namespace cpu
}  // namespace mrcnn
