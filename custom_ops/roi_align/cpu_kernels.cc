// RoIAlign and RoIPool on the CPU.
//
// Per RoI the cells each bin reads and their weights are written down once; the innermost loops then run over channels,
// which lie side by side, in blocks held in vector registers. Each such loop is compiled for several instruction sets
// and chosen at run time, so that a library built on one machine runs on another.
//
// What costs is memory. Forward, RoIs are taken in the order of their places, so that neighbors find each other's cells
// in the cache. Backward, the maps are taken row by row, each written once as the sum over the RoIs that read it; adding
// RoI by RoI instead would carry every map through the cache many times, took three times as long, and needs care to give
// the same digits on any number of threads.
#include <limits.h>
#include <math.h>
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

// out = [out +] sum over t of weight[t] * source[t], for `kCount` vectors of channels.
template <int kLanes, int kCount, bool kAdd, typename T, typename Out>
MRCNN_INLINE void sum_block(const T* const* source, const float* weight, int taps, int c, Out* out) {
  typename Vector<kLanes>::Floats sum[kCount] = {}, value;
  if (kAdd) {
#pragma GCC unroll 4
    for (int k = 0; k < kCount; ++k) load<kLanes>(out + c + k * kLanes, &sum[k]);
  }
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

template <int kLanes, bool kAdd, typename T, typename Out>
MRCNN_INLINE void sum_body(const T* const* source, const float* weight, int taps, int channels, Out* out) {
  int c = 0;
  for (; c + kVectors * kLanes <= channels; c += kVectors * kLanes) {
    sum_block<kLanes, kVectors, kAdd>(source, weight, taps, c, out);
  }
  for (; c + kLanes <= channels; c += kLanes) sum_block<kLanes, 1, kAdd>(source, weight, taps, c, out);
  for (; c < channels; ++c) {
    float sum = kAdd ? to_float(out[c]) : 0.0f;
    for (int t = 0; t < taps; ++t) sum += weight[t] * to_float(source[t][c]);
    out[c] = from_float<Out>(sum);
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
  void (*sum)(const T* const*, const float*, int, int, T*);
  void (*add)(const T* const*, const float*, int, int, float*);
  void (*max)(const T*, const int*, int, int64_t, int, float*, int*);
};

#define MRCNN_LOOPS(NAME, LANES, TARGET)                                                                         \
  template <typename T>                                                                                          \
  TARGET void sum_##NAME(const T* const* source, const float* weight, int taps, int channels, T* out) {          \
    sum_body<LANES, false>(source, weight, taps, channels, out);                                                 \
  }                                                                                                              \
  template <typename T>                                                                                          \
  TARGET void add_##NAME(const T* const* source, const float* weight, int taps, int channels, float* out) {      \
    sum_body<LANES, true>(source, weight, taps, channels, out);                                                  \
  }                                                                                                              \
  template <typename T>                                                                                          \
  TARGET void max_##NAME(const T* source, const int* cell, int cells, int64_t stride, int channels, float* best, \
                         int* argmax) {                                                                          \
    max_body<T>(source, cell, cells, stride, channels, best, argmax);                                            \
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
    return {sum_avx512<T>, add_avx512<T>, max_avx512<T>};
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return {sum_avx2<T>, add_avx2<T>, max_avx2<T>};
  }
#endif
  return {sum_base<T>, add_base<T>, max_base<T>};
}

// Both axes of one RoI.
struct RoiTaps {
  AxisTaps y, x;
};

void make_roi_taps(const Params& p, const Roi& roi, RoiTaps* taps) {
  const Level& level = p.levels[roi.level];
  const bool adaptive = p.sampling_ratio == 0;
  make_taps(roi.start_y, roi.bin_y, roi.samples_y, adaptive, level.height, p.bins_y, &taps->y);
  make_taps(roi.start_x, roi.bin_x, roi.samples_x, adaptive, level.width, p.bins_x, &taps->x);
}

std::vector<Roi> place_rois(const Params& p, const float* boxes, const int* image) {
  std::vector<Roi> rois(p.num_rois);
  for (int r = 0; r < p.num_rois; ++r) place_roi(p, boxes + 4 * static_cast<int64_t>(r), image[r], &rois[r]);
  return rois;
}

// RoIs such that those that read the same cells follow one another: what one brought into the cache serves the next.
std::vector<int> reading_order(const std::vector<Roi>& rois) {
  constexpr float kBand = 16.0f;  // rows
  std::vector<int> order(rois.size());
  for (size_t r = 0; r < rois.size(); ++r) order[r] = static_cast<int>(r);
  std::sort(order.begin(), order.end(), [&rois](int left, int right) {
    const Roi &a = rois[left], &b = rois[right];
    if (a.image != b.image) return a.image < b.image;
    if (a.level != b.level) return a.level < b.level;
    const float band_a = floorf(a.start_y / kBand), band_b = floorf(b.start_y / kBand);
    if (band_a != band_b) return band_a < band_b;
    if (a.start_x != b.start_x) return a.start_x < b.start_x;
    return left < right;
  });
  return order;
}

// The bins that read each cell of an axis, the transpose of AxisTaps: cell first_cell + k is read by
// bins[first[k]] ... bins[first[k + 1] - 1], in order; Tap::cell is the bin.
struct CellTaps {
  int first_cell = 0;
  std::vector<int> first;
  std::vector<Tap> bins;

  int cells() const { return static_cast<int>(first.size()) - 1; }
};

void transpose(const AxisTaps& axis, CellTaps* cells) {
  int low = INT_MAX, high = -1;
  for (const Tap& tap : axis.taps) {
    low = std::min(low, tap.cell);
    high = std::max(high, tap.cell);
  }
  cells->first_cell = high < 0 ? 0 : low;
  cells->first.assign(high < 0 ? 1 : high - low + 2, 0);
  cells->bins.resize(axis.taps.size());
  for (const Tap& tap : axis.taps) ++cells->first[tap.cell - low + 1];
  for (size_t k = 1; k < cells->first.size(); ++k) cells->first[k] += cells->first[k - 1];
  std::vector<int> next(cells->first.begin(), cells->first.end() - 1);
  for (int bin = 0; bin + 1 < static_cast<int>(axis.first.size()); ++bin) {
    for (int t = axis.first[bin]; t < axis.first[bin + 1]; ++t) {
      const Tap& tap = axis.taps[t];
      cells->bins[next[tap.cell - low]++] = {bin, tap.weight};
    }
  }
}

int64_t map_size(const Params& p, int level) {
  return static_cast<int64_t>(p.levels[level].height) * p.levels[level].width * p.channels;
}

// Where a row is summed: in place, or in `scratch` if its numbers are not float32.
float* row_of_floats(float* out, int64_t, std::vector<float>*) { return out; }
template <typename T>
float* row_of_floats(T*, int64_t size, std::vector<float>* scratch) {
  scratch->resize(size);
  return scratch->data();
}
void finish_row(const float*, int64_t, float*) {}
template <typename T>
void finish_row(const float* sum, int64_t size, T* out) {
  for (int64_t k = 0; k < size; ++k) out[k] = from_float<T>(sum[k]);
}

void set_zero(float* out, int64_t count, const ParallelFor& parallel_for) {
  parallel_for((count + 4095) / 4096, 1024, [&](int64_t begin, int64_t end) {
    std::fill(out + begin * 4096, out + std::min(end * 4096, count), 0.0f);
  });
}

// Channels per task of a gradient: a task owns these channels of one image's maps, so that nobody else adds to them.
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
  const std::vector<Roi> rois = place_rois(p, boxes, image);
  const std::vector<int> order = reading_order(rois);
  parallel_for(p.num_rois, cost, [&](int64_t begin, int64_t end) {
    RoiTaps taps;
    std::vector<const T*> source;
    std::vector<float> weight;
    for (int64_t k = begin; k < end; ++k) {
      const Roi& roi = rois[order[k]];
      T* out = pooled + order[k] * roi_size;
      if (roi.image < 0) {
        std::fill(out, out + roi_size, from_float<T>(0.0f));
        continue;
      }
      make_roi_taps(p, roi, &taps);
      const T* map = features[roi.level] + roi.image * map_size(p, roi.level);
      const int64_t row_size = static_cast<int64_t>(p.levels[roi.level].width) * p.channels;
      for (int i = 0; i < p.bins_y; ++i) {
        for (int j = 0; j < p.bins_x; ++j, out += p.channels) {
          source.clear();
          weight.clear();
          for (int a = taps.y.first[i]; a < taps.y.first[i + 1]; ++a) {
            const T* row = map + taps.y.taps[a].cell * row_size;
            for (int b = taps.x.first[j]; b < taps.x.first[j + 1]; ++b) {
              source.push_back(row + static_cast<int64_t>(taps.x.taps[b].cell) * p.channels);
              weight.push_back(taps.y.taps[a].weight * taps.x.taps[b].weight);
            }
          }
          loop.sum(source.data(), weight.data(), static_cast<int>(source.size()), p.channels, out);
        }
      }
    }
  });
}

template <typename T>
void backward(const Params& p, const T* upstream, const float* boxes, const int* image, T* const* gradient,
              const ParallelFor& parallel_for) {
  const Loops<T> loop = loops<T>();
  const std::vector<Roi> rois = place_rois(p, boxes, image);
  struct Cells {
    CellTaps y, x;
  };
  std::vector<Cells> cells(p.num_rois);
  parallel_for(p.num_rois, 4000, [&](int64_t begin, int64_t end) {
    RoiTaps taps;
    for (int64_t r = begin; r < end; ++r) {
      if (rois[r].image < 0) continue;
      make_roi_taps(p, rois[r], &taps);
      transpose(taps.y, &cells[r].y);
      transpose(taps.x, &cells[r].x);
    }
  });

  // Rows of all maps, level by level, image by image, and the RoIs that read each, in order.
  std::vector<int64_t> level_rows(p.num_levels + 1, 0);
  for (int level = 0; level < p.num_levels; ++level) {
    level_rows[level + 1] = level_rows[level] + static_cast<int64_t>(p.batch) * p.levels[level].height;
  }
  const int64_t num_rows = level_rows[p.num_levels];
  const auto first_row = [&](int r) {
    return level_rows[rois[r].level] + static_cast<int64_t>(rois[r].image) * p.levels[rois[r].level].height +
           cells[r].y.first_cell;
  };
  std::vector<int64_t> first(num_rows + 1, 0);
  for (int r = 0; r < p.num_rois; ++r) {
    if (rois[r].image < 0) continue;
    for (int k = 0; k < cells[r].y.cells(); ++k) ++first[first_row(r) + k + 1];
  }
  for (int64_t row = 0; row < num_rows; ++row) first[row + 1] += first[row];
  std::vector<int> readers(first[num_rows]);
  std::vector<int64_t> next(first.begin(), first.end() - 1);
  for (int r = 0; r < p.num_rois; ++r) {
    if (rois[r].image < 0) continue;
    for (int k = 0; k < cells[r].y.cells(); ++k) readers[next[first_row(r) + k]++] = r;
  }

  // A row is written by one task alone, from zero to the last RoI, while it lies in the cache.
  const int64_t bins = static_cast<int64_t>(p.bins_y) * p.bins_x;
  const int64_t work = (bins * p.num_rois * 16 * p.channels) / kCacheLine;
  parallel_for(num_rows, work / std::max<int64_t>(num_rows, 1) + 1000, [&](int64_t begin, int64_t end) {
    std::vector<const T*> source;
    std::vector<float> weight, sums;
    int level = 0;
    for (int64_t row = begin; row < end; ++row) {
      while (row >= level_rows[level + 1]) ++level;
      const int height = p.levels[level].height, width = p.levels[level].width;
      const int64_t index = row - level_rows[level], row_size = static_cast<int64_t>(width) * p.channels;
      T* out = gradient[level] + index * row_size;
      float* sum = row_of_floats(out, row_size, &sums);
      std::fill(sum, sum + row_size, 0.0f);
      for (int64_t k = first[row]; k < first[row + 1]; ++k) {
        const int r = readers[k];
        const CellTaps &y = cells[r].y, &x = cells[r].x;
        const int cell_y = static_cast<int>(index % height) - y.first_cell;
        const T* up = upstream + r * bins * p.channels;
        for (int cell_x = 0; cell_x < x.cells(); ++cell_x) {
          source.clear();
          weight.clear();
          for (int a = y.first[cell_y]; a < y.first[cell_y + 1]; ++a) {
            const T* bin_row = up + static_cast<int64_t>(y.bins[a].cell) * p.bins_x * p.channels;
            for (int b = x.first[cell_x]; b < x.first[cell_x + 1]; ++b) {
              source.push_back(bin_row + static_cast<int64_t>(x.bins[b].cell) * p.channels);
              weight.push_back(y.bins[a].weight * x.bins[b].weight);
            }
          }
          if (source.empty()) continue;
          float* to = sum + static_cast<int64_t>(x.first_cell + cell_x) * p.channels;
          loop.add(source.data(), weight.data(), static_cast<int>(source.size()), p.channels, to);
        }
      }
      finish_row(sum, row_size, out);
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
      const int image = static_cast<int>(task / parts), from = static_cast<int>(task % parts) * owned;
      const int to = std::min(from + owned, p.channels);
      float* map = gradient + image * map_size(p, 0);
      for (const int r : rois[image]) {
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
  template void backward<T>(const Params&, const T*, const float*, const int*, T* const*, const ParallelFor&);        \
  template void pool_forward<T>(const Params&, const T*, const float*, const int*, T*, int*, const ParallelFor&);     \
  template void pool_backward<T>(const Params&, const T*, const int*, const int*, float*, int, const ParallelFor&);   \
  template void convert<T>(const float*, T*, int64_t, const ParallelFor&);
MRCNN_INSTANTIATE(float)
MRCNN_INSTANTIATE(Half)
MRCNN_INSTANTIATE(BFloat16)
#undef MRCNN_INSTANTIATE

}  // namespace cpu
}  // namespace mrcnn
