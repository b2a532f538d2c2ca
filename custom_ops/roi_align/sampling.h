// Where RoIAlign and RoIPool read: the only statement of that arithmetic in this folder.
//
// Compiled into the CPU kernels, the CUDA kernels and the unit test. It knows nothing of tensors' contents, threads or
// TensorFlow. Boxes are (y1, x1, y2, x2) in pixels; a position p on an axis of `size` cells has the center of cell i at
// p = i. The order of the operations is that of mrcnn/ops/roi_align.py, and the build keeps compilers from contracting
// them into fused ones (-ffp-contract=off, --fmad=false), so that a sample lands on the same side of every edge here
// and there.
//
// Ref: Mask R-CNN, section 3 (RoIAlign); Fast R-CNN, section 2.1 (RoIPool); Feature Pyramid Networks, equation 1.
#ifndef MRCNN_ROI_ALIGN_SAMPLING_H_
#define MRCNN_ROI_ALIGN_SAMPLING_H_

#include <math.h>
#include <stdint.h>

#include "../common/host_device.h"

namespace mrcnn {

constexpr int kMaxLevels = 8;

// Samples per bin and axis that an adaptive RoI may ask for. Of a larger one less than a millionth lies on any map that
// fits into memory, so that its mean is 0 but for the last digits; it is refused, or taken for 0.
constexpr int kMaxSamples = 1 << 30;

enum LevelRule : int {
  kFloorInside = 0,     // floor(k0 + log2(side / canonical + epsilon))
  kFloorAfter = 1,      // floor(k0 + log2(side / canonical) + epsilon)
  // k0 + round(log2(side / canonical)), half to even, the side measured with the distance between the image's first
  // and last pixel as its height and width, and after end_offset
  kRoundImageArea = 2,
};

struct Level {
  int height, width;  // cells
  float scale;        // cells per pixel
};

// All that is known before any tensor's content is. Passed to kernels by value.
struct Params {
  int num_levels;
  Level levels[kMaxLevels];  // fine to coarse
  int min_level;             // name of levels[0]: 2 for P2
  int batch, channels, num_rois;
  int bins_y, bins_x;
  int sampling_ratio;  // samples per bin and axis; 0: ceil(RoI side / bins)
  bool aligned;        // shift by half a cell, no least size
  int level_rule;
  float level_epsilon, canonical_size;
  int canonical_level;
  float end_offset;    // pixels added to y2 and x2 once the level is chosen
};

// One RoI on its level. Along each axis bin i spans [start + i * bin, start + (i + 1) * bin).
struct Roi {
  int image;  // -1: gives zeros and no gradient
  int level;  // index into Params::levels
  float start_y, start_x, bin_y, bin_x;
  int samples_y, samples_x;  // per bin; 0: the RoI is empty and gives zeros
};

enum Fault : int { kNoFault = 0, kBadIndex = 1, kNotFinite = 2, kTooLarge = 3 };

MRCNN_HD int min_int(int a, int b) { return a < b ? a : b; }
MRCNN_HD int max_int(int a, int b) { return a > b ? a : b; }

MRCNN_HD float safe_log2(float value) { return logf(fmaxf(value, 1e-30f)) / 0.693147182464599609375f; }

// Index into Params::levels. An empty box belongs to the finest level.
MRCNN_HD int assign_level(const Params& p, const float* box) {
  if (p.num_levels == 1) return 0;
  const float canonical_level = static_cast<float>(p.canonical_level);
  float level;
  if (p.level_rule == kRoundImageArea) {
    const float height = fmaxf(box[2] + p.end_offset - box[0], 0.0f), width = fmaxf(box[3] + p.end_offset - box[1], 0.0f);
    const float image_height = static_cast<float>(p.levels[0].height) / p.levels[0].scale;
    const float image_width = static_cast<float>(p.levels[0].width) / p.levels[0].scale;
    const float share = sqrtf((height / fmaxf(image_height - 1.0f, 1.0f)) * (width / fmaxf(image_width - 1.0f, 1.0f)));
    level = canonical_level + rintf(safe_log2(share / (p.canonical_size / sqrtf(image_height * image_width))));
  } else {
    const float side = sqrtf(fmaxf(box[2] - box[0], 0.0f) * fmaxf(box[3] - box[1], 0.0f));
    if (p.level_rule == kFloorAfter) {
      level = floorf(canonical_level + safe_log2(side / p.canonical_size) + p.level_epsilon);
    } else {
      level = floorf(canonical_level + safe_log2(side / p.canonical_size + p.level_epsilon));
    }
  }
  const float last = static_cast<float>(p.min_level + p.num_levels - 1);
  return static_cast<int>(fminf(fmaxf(level, static_cast<float>(p.min_level)), last)) - p.min_level;
}

// One axis of a RoI: first edge, bin size and samples per bin. False: more than kMaxSamples are asked for.
MRCNN_HD bool place_axis(float low, float high, float scale, int bins, int sampling_ratio, bool aligned, float* start,
                         float* bin, int* samples) {
  low = low * scale;
  high = high * scale;
  if (aligned) {
    low = low - 0.5f;
    high = high - 0.5f;
  }
  float length = high - low;
  if (!aligned) length = fmaxf(length, 1.0f);
  *start = low;
  *bin = length / static_cast<float>(bins);
  *samples = sampling_ratio;
  if (sampling_ratio > 0) return true;
  const float wanted = ceilf(*bin);
  if (!(wanted <= static_cast<float>(kMaxSamples))) return false;
  *samples = wanted > 0.0f ? static_cast<int>(wanted) : 0;
  return true;
}

// Where RoI `box` of image `image` lies. Whatever the fault, `roi` may be used: a faulty RoI gives zeros.
MRCNN_HD Fault place_roi(const Params& p, const float* box, int image, Roi* roi) {
  roi->image = -1;
  roi->level = 0;
  roi->start_y = roi->start_x = roi->bin_y = roi->bin_x = 0.0f;
  roi->samples_y = roi->samples_x = 0;
  if (image == -1) return kNoFault;
  if (image < -1 || image >= p.batch) return kBadIndex;
  for (int i = 0; i < 4; ++i) {
    if (!(fabsf(box[i]) <= 3.4028234663852886e38f)) return kNotFinite;
  }
  const int level = assign_level(p, box);
  const Level& shape = p.levels[level];
  const bool fits = place_axis(box[0], box[2] + p.end_offset, shape.scale, p.bins_y, p.sampling_ratio, p.aligned,
                               &roi->start_y, &roi->bin_y, &roi->samples_y) &
                    place_axis(box[1], box[3] + p.end_offset, shape.scale, p.bins_x, p.sampling_ratio, p.aligned,
                               &roi->start_x, &roi->bin_x, &roi->samples_x);
  if (!fits) return kTooLarge;
  roi->level = level;
  // A map without cells, and a bin without samples, hold nothing to read.
  if (shape.height > 0 && shape.width > 0 && roi->samples_y > 0 && roi->samples_x > 0) roi->image = image;
  return kNoFault;
}

// The two cells that one sample reads along one axis, `low` with weight 1 - fraction and `high` with weight fraction,
// both inside the map. False: the sample lies more than one cell beyond the center of the border cell and is 0.
// `adaptive`, sampling_ratio 0, changes the order of the operations only.
MRCNN_HD bool axis_sample(float start, float bin, int samples, bool adaptive, int size, int bin_index, int sample,
                          int* low, int* high, float* fraction) {
  const float index = static_cast<float>(bin_index), middle = static_cast<float>(sample) + 0.5f;
  const float count = static_cast<float>(samples);
  float position = adaptive ? start + bin * index + middle * bin / count : start + bin * (index + middle / count);
  const float last = static_cast<float>(size - 1);
  if (!(position >= -1.0f && position <= last + 1.0f)) return false;
  position = fminf(fmaxf(position, 0.0f), last);
  const float floor_position = floorf(position);
  *low = static_cast<int>(floor_position);
  *high = min_int(*low + 1, size - 1);
  *fraction = position - floor_position;
  return true;
}

// Samples [first, end) of one bin among which all those are that axis_sample() finds inside the map. Keeps a RoI of a
// million cells as cheap as the part of it that lies on the map.
MRCNN_HD void sample_range(float start, float bin, int samples, int size, int bin_index, int* first, int* end) {
  *first = 0;
  *end = samples;
  if (samples <= 64 || !(bin > 0.0f)) return;
  const float per_cell = static_cast<float>(samples) / bin, origin = start + bin * static_cast<float>(bin_index);
  // Positions, here and in axis_sample(), are off by a few units of 6e-8 of the numbers they are made from.
  const float slack = 2.0f + per_cell * (1.0f + 1e-6f * fmaxf(fabsf(start), fabsf(origin + bin)));
  const float from = (-1.0f - origin) * per_cell - slack, to = (static_cast<float>(size) - origin) * per_cell + slack;
  const float count = static_cast<float>(samples);
  if (from > 0.0f) *first = from < count ? static_cast<int>(from) : samples;
  if (to < count) *end = to > 0.0f ? static_cast<int>(to) + 1 : 0;
  if (*end > samples) *end = samples;
}

// Cells [first, end) of one RoIPool bin along one axis, clipped to the map; empty if end <= first. The RoI is rounded
// to whole cells, its last cell included, and is at least one cell long; bins overlap by up to one cell.
MRCNN_HD void pool_range(float low, float high, float scale, int bins, int size, int bin_index, int* first, int* end) {
  const float start = roundf(low * scale), stop = roundf(high * scale);
  const float length = fmaxf(stop - start + 1.0f, 1.0f);
  const float bin = length / static_cast<float>(bins);
  // Bounded as floats, so that no coordinate overflows an integer.
  const float limit = static_cast<float>(size);
  *first = static_cast<int>(fminf(fmaxf(floorf(static_cast<float>(bin_index) * bin) + start, 0.0f), limit));
  *end = static_cast<int>(fminf(fmaxf(ceilf(static_cast<float>(bin_index + 1) * bin) + start, 0.0f), limit));
}

}  // namespace mrcnn

#endif  // MRCNN_ROI_ALIGN_SAMPLING_H_
