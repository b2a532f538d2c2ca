// Deformable convolution's samples and their gradients on the CPU.
//
// Forward, output cells are taken in order, so that neighbors find each other's cells in the cache. Backward, the
// gradients of offsets and mask belong to one sample each; a map's are summed by tasks that own some channels of one
// image, sample after sample, so that nobody else adds to them.
#include <string.h>

#include <algorithm>
#include <vector>

#include "../common/loops.h"
#include "deformable_kernels.h"

namespace mrcnn {
namespace deformable {
namespace cpu {
namespace {

using mrcnn::cpu::kCacheLine;
using mrcnn::cpu::Loops;
using mrcnn::cpu::ParallelFor;

// Where the channels [from, to) of one sample's column lie in parts: those of each group of the convolution.
template <typename Part>
void parts_of(const Params& p, int64_t unit, int tap, int from, int to, const Part& part) {
  const int per_group = p.channels / p.groups;
  while (from < to) {
    const int group = from / per_group, end = std::min(to, (group + 1) * per_group);
    const int64_t row = (group * out_cells(p) + unit) * taps_of(p) + tap;
    part(from, end, row * per_group + (from - group * per_group));
    from = end;
  }
}

// Bilinear weights with the mask, of the cells inside only; returns how many.
int readers_of(const Sample& s, int64_t* cell, float* weight) {
  float all[4];
  weights_of(s, all);
  int count = 0;
  for (int k = 0; k < 4; ++k) {
    if (s.inside[k] == 0.0f) continue;
    cell[count] = s.cell[k];
    weight[count++] = all[k] * s.mask;
  }
  return count;
}

}  // namespace

template <typename T>
void columns(const Params& p, const T* features, const float* offsets, const float* mask, T* columns,
             const ParallelFor& parallel_for) {
  const Loops<T> loop = mrcnn::cpu::loops<T>();
  const int taps = taps_of(p), width = p.channels / p.offset_groups;
  const int64_t cost = static_cast<int64_t>(taps) * (p.channels / 2 + 30 * p.offset_groups);
  parallel_for(out_cells(p), cost, [&](int64_t begin, int64_t end) {
    std::vector<T> scratch(p.groups > 1 ? p.channels : 0);
    const T* source[4];
    int64_t cell[4];
    float weight[4];
    for (int64_t unit = begin; unit < end; ++unit) {
      for (int tap = 0; tap < taps; ++tap) {
        T* out = p.groups > 1 ? scratch.data() : columns + (unit * taps + tap) * p.channels;
        for (int group = 0; group < p.offset_groups; ++group) {
          const Sample s = sample_at(p, offsets, mask, unit, group, tap);
          const int count = readers_of(s, cell, weight);
          for (int k = 0; k < count; ++k) source[k] = features + cell[k] * p.channels + group * width;
          loop.sum(source, weight, count, width, out + group * width);
        }
        if (p.groups == 1) continue;
        parts_of(p, unit, tap, 0, p.channels, [&](int from, int to, int64_t at) {
          memcpy(columns + at, scratch.data() + from, (to - from) * sizeof(T));
        });
      }
    }
  });
}

template <typename T>
void backward(const Params& p, const T* upstream, const T* features, const float* offsets, const float* mask,
              float* to_features, float* to_offsets, float* to_mask, int num_threads,
              const ParallelFor& parallel_for) {
  const Loops<T> loop = mrcnn::cpu::loops<T>();
  const int taps = taps_of(p), width = p.channels / p.offset_groups;
  const int64_t sample_cost = p.channels / 2 + 60 * p.offset_groups;
  parallel_for(out_cells(p), taps * sample_cost, [&](int64_t begin, int64_t end) {
    const T* source[4];
    for (int64_t unit = begin; unit < end; ++unit) {
      for (int group = 0; group < p.offset_groups; ++group) {
        for (int tap = 0; tap < taps; ++tap) {
          const Sample s = sample_at(p, offsets, mask, unit, group, tap);
          float product[4] = {};
          parts_of(p, unit, tap, group * width, (group + 1) * width, [&](int from, int to, int64_t at) {
            float part[4];
            for (int k = 0; k < 4; ++k) source[k] = features + s.cell[k] * p.channels + from;
            loop.dots(upstream + at, source, to - from, part);
            for (int k = 0; k < 4; ++k) product[k] += part[k];
          });
          const int64_t at = (unit * p.offset_groups + group) * taps + tap;
          float unused;
          slopes_of(s, product, to_offsets + 2 * at, to_offsets + 2 * at + 1, p.modulated ? to_mask + at : &unused);
        }
      }
    }
  });

  const int64_t map_size = static_cast<int64_t>(p.height) * p.width * p.channels;
  mrcnn::cpu::set_zero(to_features, p.batch * map_size, parallel_for);
  const int owned = mrcnn::cpu::owned_channels(p.batch, p.channels, num_threads);
  const int64_t parts = (p.channels + owned - 1) / owned;
  const int64_t per_image = static_cast<int64_t>(p.out_height) * p.out_width;
  parallel_for(p.batch * parts, per_image * taps * (owned + 60) + 1, [&](int64_t begin, int64_t end) {
    int64_t cell[4];
    float weight[4];
    for (int64_t task = begin; task < end; ++task) {
      const int64_t image = task / parts;
      const int first = static_cast<int>(task % parts) * owned, last = std::min(first + owned, p.channels);
      for (int64_t unit = image * per_image; unit < (image + 1) * per_image; ++unit) {
        for (int tap = 0; tap < taps; ++tap) {
          for (int group = first / width; group * width < last; ++group) {
            const int count = readers_of(sample_at(p, offsets, mask, unit, group, tap), cell, weight);
            const int from = std::max(first, group * width), to = std::min(last, (group + 1) * width);
            parts_of(p, unit, tap, from, to, [&](int begin_channel, int end_channel, int64_t at) {
              const T* up = upstream + at;
              for (int k = 0; k < count; ++k) {
                float* out = to_features + cell[k] * p.channels + begin_channel;
                loop.add(&up, &weight[k], 1, end_channel - begin_channel, out);
              }
            });
          }
        }
      }
    }
  });
}

#define MRCNN_INSTANTIATE(T)                                                                                      \
  template void columns<T>(const Params&, const T*, const float*, const float*, T*, const ParallelFor&);          \
  template void backward<T>(const Params&, const T*, const T*, const float*, const float*, float*, float*, float*, \
                            int, const ParallelFor&);
MRCNN_INSTANTIATE(float)
MRCNN_INSTANTIATE(Half)
MRCNN_INSTANTIATE(BFloat16)
#undef MRCNN_INSTANTIATE

}  // namespace cpu
}  // namespace deformable
}  // namespace mrcnn
