// RoIAlign and RoIPool on the CPU.
//
// Per RoI the cells each bin reads and their weights are written down once; the innermost loops then run over channels,
// which lie side by side (common/loops.h).
//
// What costs is memory. Forward, RoIs are taken in the order of their places, so that neighbors find each other's cells
// in the cache. Backward, the maps are taken row by row, each written once as the sum over the RoIs that read it; adding
// RoI by RoI instead would carry every map through the cache many times, took three times as long, and needs care to give
// the same digits on any number of threads.
#include <limits.h>
#include <math.h>

#include <algorithm>
#include <vector>

#include "../common/loops.h"
#include "kernels.h"
#include "taps.h"

namespace mrcnn {
namespace cpu {
namespace {

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
  const int owned = owned_channels(p.batch, p.channels, num_threads);
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
