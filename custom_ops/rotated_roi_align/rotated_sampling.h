// Where RoIAlign of rotated boxes reads: the only statement of that arithmetic in this folder.
//
// Boxes are (cy, cx, h, w, angle) in pixels and degrees, counterclockwise; the center of cell i of an axis is at i. The
// order of the operations is that of mrcnn/ops/rotated_roi_align.py.
//
// Ref: Ma et al., arXiv 1703.01086 (RRoI pooling); Mask R-CNN, section 3 (RoIAlign).
#ifndef MRCNN_ROTATED_ROI_ALIGN_SAMPLING_H_
#define MRCNN_ROTATED_ROI_ALIGN_SAMPLING_H_

#include <math.h>
#include <stdint.h>

#include "../common/host_device.h"

namespace mrcnn {
namespace rotated {

constexpr int kMaxSamples = 64;  // per bin and axis, where a RoI's size decides

// Passed to kernels by value.
struct Params {
  int batch, height, width, channels;
  int num_rois, bins_y, bins_x;
  int sampling_ratio;  // samples per bin and axis; 0: ceil(RoI side / bins), at most kMaxSamples
  float stride;        // pixels per cell
};

struct Roi {
  int image;  // -1: gives zeros and no gradient
  float center_y, center_x, bin_y, bin_x, sine, cosine;
  int samples_y, samples_x;
};

MRCNN_HD int samples_of(float bin, int sampling_ratio) {
  if (sampling_ratio > 0) return sampling_ratio;
  return static_cast<int>(fminf(fmaxf(ceilf(bin), 0.0f), static_cast<float>(kMaxSamples)));
}

// A RoI with an image that is none, or that is not finite, gives zeros.
MRCNN_HD Roi place_roi(const Params& p, const float* box, int image) {
  Roi roi = {};
  roi.image = -1;
  if (image < 0 || image >= p.batch || p.height < 1 || p.width < 1) return roi;
  for (int i = 0; i < 5; ++i) {
    if (!(fabsf(box[i]) <= 3.4028234663852886e38f)) return roi;
  }
  roi.center_y = box[0] / p.stride - 0.5f;
  roi.center_x = box[1] / p.stride - 0.5f;
  roi.bin_y = box[2] / p.stride / static_cast<float>(p.bins_y);
  roi.bin_x = box[3] / p.stride / static_cast<float>(p.bins_x);
  roi.samples_y = samples_of(roi.bin_y, p.sampling_ratio);
  roi.samples_x = samples_of(roi.bin_x, p.sampling_ratio);
  const float angle = box[4] * 0.017453292519943295f;
  roi.sine = sinf(angle);
  roi.cosine = cosf(angle);
  if (roi.samples_y > 0 && roi.samples_x > 0) roi.image = image;
  return roi;
}

// The four cells of the image (y * width + x) that one sample of bin (i, j) reads, and their weights, which sum to 1.
// False: the sample lies more than one cell beyond the center of the border cell and is 0.
MRCNN_HD bool sample_at(const Params& p, const Roi& roi, int i, int j, int sample_y, int sample_x, int* cell,
                        float* weight) {
  const float within_y =
      static_cast<float>(i) + (static_cast<float>(sample_y) + 0.5f) / static_cast<float>(roi.samples_y);
  const float within_x =
      static_cast<float>(j) + (static_cast<float>(sample_x) + 0.5f) / static_cast<float>(roi.samples_x);
  const float local_y = roi.bin_y * (within_y - 0.5f * static_cast<float>(p.bins_y));
  const float local_x = roi.bin_x * (within_x - 0.5f * static_cast<float>(p.bins_x));
  float y = (local_y * roi.cosine - local_x * roi.sine) + roi.center_y;
  float x = (local_y * roi.sine + local_x * roi.cosine) + roi.center_x;
  const float last_y = static_cast<float>(p.height - 1), last_x = static_cast<float>(p.width - 1);
  if (!(y >= -1.0f && y <= last_y + 1.0f && x >= -1.0f && x <= last_x + 1.0f)) return false;
  y = fminf(fmaxf(y, 0.0f), last_y);
  x = fminf(fmaxf(x, 0.0f), last_x);
  const float floor_y = floorf(y), floor_x = floorf(x), fraction_y = y - floor_y, fraction_x = x - floor_x;
  const int y0 = static_cast<int>(floor_y), x0 = static_cast<int>(floor_x);
  const int y1 = y0 + 1 < p.height ? y0 + 1 : y0, x1 = x0 + 1 < p.width ? x0 + 1 : x0;
  cell[0] = y0 * p.width + x0;
  cell[1] = y0 * p.width + x1;
  cell[2] = y1 * p.width + x0;
  cell[3] = y1 * p.width + x1;
  weight[0] = (1.0f - fraction_y) * (1.0f - fraction_x);
  weight[1] = (1.0f - fraction_y) * fraction_x;
  weight[2] = fraction_y * (1.0f - fraction_x);
  weight[3] = fraction_y * fraction_x;
  return true;
}

MRCNN_HD float share_of(const Roi& roi) {
  return 1.0f / static_cast<float>(roi.samples_y * roi.samples_x);
}

}  // namespace rotated
}  // namespace mrcnn

#endif  // MRCNN_ROTATED_ROI_ALIGN_SAMPLING_H_
