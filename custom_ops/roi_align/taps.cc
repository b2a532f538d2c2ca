// Compiled apart from cpu_kernels.cc: there multiplications and additions may be fused, here they must not be.
#include "taps.h"

namespace mrcnn {
namespace {

// Samples of a bin follow one another along the axis, forwards or, in an inverted RoI, backwards: a cell that was seen
// before is among the last three.
void add(int cell, float weight, size_t begin, std::vector<Tap>* taps) {
  const size_t count = taps->size();
  for (size_t back = 1; back <= 3 && count >= begin + back; ++back) {
    Tap& tap = (*taps)[count - back];
    if (tap.cell == cell) {
      tap.weight += weight;
      return;
    }
  }
  taps->push_back({cell, weight});
}

}  // namespace

void make_taps(float start, float bin, int samples, bool adaptive, int size, int bins, AxisTaps* axis) {
  axis->first.clear();
  axis->taps.clear();
  axis->first.push_back(0);
  const float share = 1.0f / static_cast<float>(samples);
  for (int index = 0; index < bins; ++index) {
    const size_t begin = axis->taps.size();
    int first, end, low, high;
    float fraction;
    sample_range(start, bin, samples, size, index, &first, &end);
    for (int sample = first; sample < end; ++sample) {
      if (!axis_sample(start, bin, samples, adaptive, size, index, sample, &low, &high, &fraction)) continue;
      add(low, share * (1.0f - fraction), begin, &axis->taps);
      add(high, share * fraction, begin, &axis->taps);
    }
    axis->first.push_back(static_cast<int>(axis->taps.size()));
  }
}

}  // namespace mrcnn
