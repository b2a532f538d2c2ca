// RoIAlign of rotated boxes on the CPU.
//
// Forward, the cells a bin reads and their weights are written down, then summed over channels. Backward, a task owns
// some channels of one image and takes RoIs in order, so that nobody else adds to them.
#include <algorithm>
#include <vector>

#include "../common/loops.h"
#include "rotated_kernels.h"

namespace mrcnn {
namespace rotated {
namespace cpu {
namespace {

using mrcnn::cpu::Loops;
using mrcnn::cpu::ParallelFor;

struct Reads {
  std::vector<int> cell;
  std::vector<float> weight;
};

void reads_of_bin(const Params& p, const Roi& roi, int i, int j, Reads* reads) {
  reads->cell.clear();
  reads->weight.clear();
  const float share = share_of(roi);
  int cell[4];
  float weight[4];
  for (int sample_y = 0; sample_y < roi.samples_y; ++sample_y) {
    for (int sample_x = 0; sample_x < roi.samples_x; ++sample_x) {
      if (!sample_at(p, roi, i, j, sample_y, sample_x, cell, weight)) continue;
      for (int k = 0; k < 4; ++k) {
        reads->cell.push_back(cell[k]);
        reads->weight.push_back(weight[k] * share);
      }
    }
  }
}

int64_t map_size(const Params& p) { return static_cast<int64_t>(p.height) * p.width * p.channels; }

}  // namespace

template <typename T>
void forward(const Params& p, const T* features, const float* boxes, const int* image, T* pooled,
             const ParallelFor& parallel_for) {
  const Loops<T> loop = mrcnn::cpu::loops<T>();
  const int64_t roi_size = static_cast<int64_t>(p.bins_y) * p.bins_x * p.channels;
  parallel_for(p.num_rois, roi_size * std::max(1, p.sampling_ratio * p.sampling_ratio) + 500,
               [&](int64_t begin, int64_t end) {
    Reads reads;
    std::vector<const T*> source;
    for (int64_t r = begin; r < end; ++r) {
      const Roi roi = place_roi(p, boxes + 5 * r, image[r]);
      T* out = pooled + r * roi_size;
      if (roi.image < 0) {
        std::fill(out, out + roi_size, from_float<T>(0.0f));
        continue;
      }
      const T* map = features + roi.image * map_size(p);
      for (int i = 0; i < p.bins_y; ++i) {
        for (int j = 0; j < p.bins_x; ++j, out += p.channels) {
          reads_of_bin(p, roi, i, j, &reads);
          source.clear();
          for (const int cell : reads.cell) source.push_back(map + static_cast<int64_t>(cell) * p.channels);
          loop.sum(source.data(), reads.weight.data(), static_cast<int>(source.size()), p.channels, out);
        }
      }
    }
  });
}

template <typename T>
void backward(const Params& p, const T* upstream, const float* boxes, const int* image, float* gradient,
              int num_threads, const ParallelFor& parallel_for) {
  const Loops<T> loop = mrcnn::cpu::loops<T>();
  mrcnn::cpu::set_zero(gradient, p.batch * map_size(p), parallel_for);
  const int owned = mrcnn::cpu::owned_channels(p.batch, p.channels, num_threads);
  const int64_t parts = (p.channels + owned - 1) / owned, bins = static_cast<int64_t>(p.bins_y) * p.bins_x;
  const int64_t cost = bins * p.num_rois / std::max(p.batch, 1) * owned;
  parallel_for(p.batch * parts, cost + 1, [&](int64_t begin, int64_t end) {
    Reads reads;
    for (int64_t task = begin; task < end; ++task) {
      const int own = static_cast<int>(task / parts), from = static_cast<int>(task % parts) * owned;
      const int width = std::min(owned, p.channels - from);
      float* map = gradient + own * map_size(p) + from;
      for (int r = 0; r < p.num_rois; ++r) {
        if (image[r] != own) continue;
        const Roi roi = place_roi(p, boxes + 5 * static_cast<int64_t>(r), image[r]);
        if (roi.image < 0) continue;
        for (int bin = 0; bin < bins; ++bin) {
          const T* up = upstream + (r * bins + bin) * p.channels + from;
          reads_of_bin(p, roi, bin / p.bins_x, bin % p.bins_x, &reads);
          for (size_t k = 0; k < reads.cell.size(); ++k) {
            loop.add(&up, &reads.weight[k], 1, width, map + static_cast<int64_t>(reads.cell[k]) * p.channels);
          }
        }
      }
    }
  });
}

#define MRCNN_INSTANTIATE(T)                                                                                     \
  template void forward<T>(const Params&, const T*, const float*, const int*, T*, const ParallelFor&);           \
  template void backward<T>(const Params&, const T*, const float*, const int*, float*, int, const ParallelFor&);
MRCNN_INSTANTIATE(float)
MRCNN_INSTANTIATE(Half)
MRCNN_INSTANTIATE(BFloat16)
#undef MRCNN_INSTANTIATE

}  // namespace cpu
}  // namespace rotated
}  // namespace mrcnn
