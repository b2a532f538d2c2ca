// The cells each bin of a RoI reads along one axis: samples of one bin that read the same cell are merged, so that a
// cell is touched once per bin and axis however many samples fall near it.
#ifndef MRCNN_ROI_ALIGN_TAPS_H_
#define MRCNN_ROI_ALIGN_TAPS_H_

#include <vector>

#include "sampling.h"

namespace mrcnn {

struct Tap {
  int cell;
  float weight;
};

struct AxisTaps {
  std::vector<int> first;  // bins + 1: bin i has taps [first[i], first[i + 1])
  std::vector<Tap> taps;
};

// Replaces what `axis` held.
void make_taps(float start, float bin, int samples, bool adaptive, int size, int bins, AxisTaps* axis);

}  // namespace mrcnn

#endif  // MRCNN_ROI_ALIGN_TAPS_H_
