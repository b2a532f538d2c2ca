// Where deformable convolution reads: the only statement of that arithmetic in this folder.
//
// A tap reads at the place it has in an ordinary convolution, moved by an offset of its own; the center of cell i of an
// axis is at i, and outside of the map lie zeros.
//
// Ref: Deformable Convolutional Networks, section 2.1; Deformable ConvNets v2, section 3.2.
#ifndef MRCNN_DEFORMABLE_CONV_SAMPLING_H_
#define MRCNN_DEFORMABLE_CONV_SAMPLING_H_

#include <math.h>
#include <stdint.h>

#include "../common/host_device.h"

namespace mrcnn {
namespace deformable {

// Passed to kernels by value. Columns are [groups, batch * out_height * out_width, taps, channels / groups].
struct Params {
  int batch, height, width, channels;
  int out_height, out_width;
  int kernel_height, kernel_width;
  int stride, dilation, padding;
  int groups;         // of the convolution
  int offset_groups;  // parts of the channels that have offsets of their own
  bool modulated;     // samples are multiplied with a mask
};

MRCNN_HD int taps_of(const Params& p) { return p.kernel_height * p.kernel_width; }
MRCNN_HD int64_t out_cells(const Params& p) { return static_cast<int64_t>(p.batch) * p.out_height * p.out_width; }

// The four cells that one sample reads: (y, x) low low, low high, high low, high high.
struct Sample {
  int64_t cell[4];  // among all cells of the batch; 0 where there is no such cell
  float inside[4];  // 1 where there is, else 0
  float fraction_y, fraction_x;
  float mask;
};

// `unit`: index of an output cell among those of the batch. An offset that is not finite reads outside.
MRCNN_HD Sample sample_at(const Params& p, const float* offsets, const float* mask, int64_t unit, int group, int tap) {
  const int64_t per_image = static_cast<int64_t>(p.out_height) * p.out_width;
  const int64_t image = unit / per_image, place = unit - image * per_image;
  const int row = static_cast<int>(place / p.out_width), column = static_cast<int>(place - static_cast<int64_t>(row) * p.out_width);
  const int i = tap / p.kernel_width, j = tap - i * p.kernel_width;
  const int64_t at = (unit * p.offset_groups + group) * taps_of(p) + tap;
  const float y = static_cast<float>(row * p.stride - p.padding + i * p.dilation) + offsets[2 * at];
  const float x = static_cast<float>(column * p.stride - p.padding + j * p.dilation) + offsets[2 * at + 1];
  Sample s = {};
  s.mask = p.modulated ? mask[at] : 1.0f;
  // Further than one cell from the map all four are outside.
  if (!(y >= -1.0f && y < static_cast<float>(p.height) && x >= -1.0f && x < static_cast<float>(p.width))) return s;
  const float floor_y = floorf(y), floor_x = floorf(x);
  s.fraction_y = y - floor_y;
  s.fraction_x = x - floor_x;
  const int y0 = static_cast<int>(floor_y), x0 = static_cast<int>(floor_x);
  for (int k = 0; k < 4; ++k) {
    const int v = y0 + k / 2, u = x0 + k % 2;
    if (v < 0 || v >= p.height || u < 0 || u >= p.width) continue;
    s.cell[k] = (image * p.height + v) * p.width + u;
    s.inside[k] = 1.0f;
  }
  return s;
}

// Bilinear weights of the four cells, 0 for those outside.
MRCNN_HD void weights_of(const Sample& s, float* weight) {
  weight[0] = (1.0f - s.fraction_y) * (1.0f - s.fraction_x) * s.inside[0];
  weight[1] = (1.0f - s.fraction_y) * s.fraction_x * s.inside[1];
  weight[2] = s.fraction_y * (1.0f - s.fraction_x) * s.inside[2];
  weight[3] = s.fraction_y * s.fraction_x * s.inside[3];
}

// From the products of what flows back with the four cells: the gradients in y, x and the mask.
MRCNN_HD void slopes_of(const Sample& s, const float* product, float* to_y, float* to_x, float* to_mask) {
  float weight[4], slope[4];
  weights_of(s, weight);
  *to_mask = 0.0f;
  for (int k = 0; k < 4; ++k) {
    slope[k] = product[k] * s.inside[k];
    *to_mask += slope[k] * weight[k];
  }
  *to_y = s.mask * ((1.0f - s.fraction_x) * (slope[2] - slope[0]) + s.fraction_x * (slope[3] - slope[1]));
  *to_x = s.mask * ((1.0f - s.fraction_y) * (slope[1] - slope[0]) + s.fraction_y * (slope[3] - slope[2]));
}

}  // namespace deformable
}  // namespace mrcnn

#endif  // MRCNN_DEFORMABLE_CONV_SAMPLING_H_
