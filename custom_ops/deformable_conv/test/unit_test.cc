// The kernels without TensorFlow: slow loops in double precision, properties, threads. Run by `make test`, under the
// sanitizers by `make asan` and `make tsan`, and by `make gpu` with the CUDA kernels on a GPU.
#include "../../common/unit_test.h"
#include "deformable_kernels.h"

namespace mrcnn {
namespace deformable {
namespace {

struct Case {
  Params p;
  std::vector<float> features, offsets, mask, upstream;
};

size_t map_count(const Params& p) { return static_cast<size_t>(p.batch) * p.height * p.width * p.channels; }
size_t sample_count(const Params& p) { return static_cast<size_t>(out_cells(p)) * p.offset_groups * taps_of(p); }
size_t column_count(const Params& p) { return static_cast<size_t>(out_cells(p)) * taps_of(p) * p.channels; }

Case make_case(std::mt19937* random, int trial) {
  Case c;
  Params& p = c.p = Params{};
  p.batch = 1 + trial % 3;
  p.height = 1 + static_cast<int>((*random)() % 9);
  p.width = 1 + static_cast<int>((*random)() % 9);
  const int channels[] = {1, 6, 16, 64, 96, 40};
  p.channels = channels[trial % 6];
  p.groups = trial % 4 == 1 && p.channels % 2 == 0 ? 2 : 1;
  p.offset_groups = trial % 5 < 2 && p.channels % 2 == 0 ? (p.channels % 8 == 0 ? 4 : 2) : 1;
  p.kernel_height = p.kernel_width = trial % 7 == 0 ? 1 : 3;
  p.stride = 1 + trial % 2;
  p.dilation = 1 + (trial / 2) % 2;
  p.padding = p.dilation * (p.kernel_height - 1) / 2;
  p.out_height = (p.height + 2 * p.padding - p.dilation * (p.kernel_height - 1) - 1) / p.stride + 1;
  p.out_width = (p.width + 2 * p.padding - p.dilation * (p.kernel_width - 1) - 1) / p.stride + 1;
  p.modulated = trial % 3 != 0;
  c.features = draw(random, map_count(p));
  c.offsets = draw(random, 2 * sample_count(p));
  for (float& offset : c.offsets) offset *= 2.5f;
  c.offsets[0] = NAN;
  c.offsets[1] = INFINITY;
  c.offsets.back() = -1e30f;
  if (c.offsets.size() > 40) c.offsets[20] = c.offsets[21] = 1.0f;
  c.mask = draw(random, p.modulated ? sample_count(p) : 0);
  c.upstream = draw(random, column_count(p));
  return c;
}

// --- The slow way, in double precision, written from the paper ---

double cell_at(const Case& c, int image, int y, int x, int channel) {
  const Params& p = c.p;
  if (y < 0 || y >= p.height || x < 0 || x >= p.width) return 0;
  return c.features[((static_cast<size_t>(image) * p.height + y) * p.width + x) * p.channels + channel];
}

double slow_sample(const Case& c, int image, double y, double x, int channel) {
  if (!std::isfinite(y) || !std::isfinite(x) || fabs(y) > 1e6 || fabs(x) > 1e6) return 0;
  const int y0 = static_cast<int>(floor(y)), x0 = static_cast<int>(floor(x));
  double sum = 0;
  for (int v = y0; v <= y0 + 1; ++v) {
    for (int u = x0; u <= x0 + 1; ++u) {
      sum += (1 - fabs(y - v)) * (1 - fabs(x - u)) * cell_at(c, image, v, u, channel);
    }
  }
  return sum;
}

// Calls body(sample, image, y, x, channel, index into the columns) for every element of the columns.
template <typename Body>
void for_each(const Case& c, const Body& body) {
  const Params& p = c.p;
  const int taps = taps_of(p), width = p.channels / p.offset_groups, per_group = p.channels / p.groups;
  for (int64_t unit = 0; unit < out_cells(p); ++unit) {
    const int image = static_cast<int>(unit / (p.out_height * p.out_width));
    const int place = static_cast<int>(unit % (p.out_height * p.out_width));
    for (int tap = 0; tap < taps; ++tap) {
      for (int channel = 0; channel < p.channels; ++channel) {
        const size_t sample = (static_cast<size_t>(unit) * p.offset_groups + channel / width) * taps + tap;
        const double y = place / p.out_width * p.stride - p.padding + tap / p.kernel_width * p.dilation +
                         static_cast<double>(c.offsets[2 * sample]);
        const double x = place % p.out_width * p.stride - p.padding + tap % p.kernel_width * p.dilation +
                         static_cast<double>(c.offsets[2 * sample + 1]);
        const size_t row = (static_cast<size_t>(channel / per_group) * out_cells(p) + unit) * taps + tap;
        body(sample, image, y, x, channel, row * per_group + channel % per_group);
      }
    }
  }
}

// --- Tests ---

void test_columns() {
  std::mt19937 random(1);
  for (int trial = 0; trial < 60; ++trial) {
    const Case c = make_case(&random, trial);
    std::vector<float> columns(column_count(c.p), NAN), serial = columns;
    cpu::columns(c.p, c.features.data(), c.offsets.data(), c.mask.data(), columns.data(), in_threads);
    cpu::columns(c.p, c.features.data(), c.offsets.data(), c.mask.data(), serial.data(), in_order);
    EXPECT(columns == serial);
    const OnDevice<float> features(c.features), offsets(c.offsets), mask(c.mask), on_columns(columns.size());
    EXPECT(cuda::columns(c.p, features.data(), offsets.data(), mask.data(), on_columns.data(), nullptr) == nullptr);
    const std::vector<float> cuda_columns = on_columns.values();
    for_each(c, [&](size_t sample, int image, double y, double x, int channel, size_t at) {
      const double expected = slow_sample(c, image, y, x, channel) * (c.p.modulated ? c.mask[sample] : 1.0);
      EXPECT_NEAR(columns[at], expected, 1e-4);
      EXPECT_NEAR(cuda_columns[at], expected, 1e-4);
    });
  }
}

// Gradients as sums over the columns, with the slopes of the bilinear function by its four cells.
void test_backward() {
  std::mt19937 random(2);
  for (int trial = 0; trial < 60; ++trial) {
    const Case c = make_case(&random, trial);
    const Params& p = c.p;
    std::vector<float> to_features(map_count(p), NAN), to_offsets(2 * sample_count(p), NAN), to_mask(c.mask.size(), NAN);
    std::vector<float> serial_features = to_features, serial_offsets = to_offsets, serial_mask = to_mask;
    const float *features = c.features.data(), *offsets = c.offsets.data(), *mask = c.mask.data();
    cpu::backward(p, c.upstream.data(), features, offsets, mask, to_features.data(), to_offsets.data(), to_mask.data(),
                  kThreads, in_threads);
    cpu::backward(p, c.upstream.data(), features, offsets, mask, serial_features.data(), serial_offsets.data(),
                  serial_mask.data(), 1, in_order);
    EXPECT(to_features == serial_features && to_offsets == serial_offsets && to_mask == serial_mask);
    const OnDevice<float> on_upstream(c.upstream), on_features(c.features), on_offsets(c.offsets), on_mask(c.mask);
    const OnDevice<float> cuda_features(to_features.size()), cuda_offsets(to_offsets.size()), cuda_mask(to_mask.size());
    EXPECT(cuda::backward(p, on_upstream.data(), on_features.data(), on_offsets.data(), on_mask.data(),
                          cuda_features.data(), cuda_offsets.data(), cuda_mask.data(), nullptr) == nullptr);
    std::vector<double> want_features(map_count(p)), want_offsets(2 * sample_count(p)), want_mask(c.mask.size());
    for_each(c, [&](size_t sample, int image, double y, double x, int channel, size_t at) {
      if (!std::isfinite(y) || !std::isfinite(x) || fabs(y) > 1e6 || fabs(x) > 1e6) return;
      const double up = c.upstream[at], m = p.modulated ? c.mask[sample] : 1.0;
      const int y0 = static_cast<int>(floor(y)), x0 = static_cast<int>(floor(x));
      for (int v = y0; v <= y0 + 1; ++v) {
        for (int u = x0; u <= x0 + 1; ++u) {
          const double wy = 1 - fabs(y - v), wx = 1 - fabs(x - u), value = cell_at(c, image, v, u, channel);
          want_offsets[2 * sample] += up * m * (v > y0 ? 1 : -1) * wx * value;
          want_offsets[2 * sample + 1] += up * m * (u > x0 ? 1 : -1) * wy * value;
          if (p.modulated) want_mask[sample] += up * wy * wx * value;
          if (v < 0 || v >= p.height || u < 0 || u >= p.width) continue;
          want_features[((static_cast<size_t>(image) * p.height + v) * p.width + u) * p.channels + channel] +=
              up * m * wy * wx;
        }
      }
    });
    const std::vector<float> got_features = cuda_features.values(), got_offsets = cuda_offsets.values();
    const std::vector<float> got_mask = cuda_mask.values();
    for (size_t k = 0; k < want_features.size(); ++k) {
      EXPECT_NEAR(to_features[k], want_features[k], 1e-3);
      EXPECT_NEAR(got_features[k], want_features[k], 1e-3);
    }
    for (size_t k = 0; k < want_offsets.size(); ++k) {
      EXPECT_NEAR(to_offsets[k], want_offsets[k], 1e-3);
      EXPECT_NEAR(got_offsets[k], want_offsets[k], 1e-3);
    }
    for (size_t k = 0; k < want_mask.size(); ++k) {
      EXPECT_NEAR(to_mask[k], want_mask[k], 1e-3);
      EXPECT_NEAR(got_mask[k], want_mask[k], 1e-3);
    }
  }
}

template <typename T>
void test_other_types() {
  std::mt19937 random(3);
  for (int trial = 0; trial < 24; ++trial) {
    Case c = make_case(&random, trial);
    const Params& p = c.p;
    std::vector<T> features, upstream, columns(column_count(p));
    for (float& value : c.features) features.push_back(from_float<T>(value));
    for (float& value : c.upstream) upstream.push_back(from_float<T>(value));
    for (size_t k = 0; k < features.size(); ++k) c.features[k] = to_float(features[k]);
    for (size_t k = 0; k < upstream.size(); ++k) c.upstream[k] = to_float(upstream[k]);
    std::vector<float> wide(column_count(p));
    const float *offsets = c.offsets.data(), *mask = c.mask.data();
    cpu::columns(p, features.data(), offsets, mask, columns.data(), in_order);
    cpu::columns(p, c.features.data(), offsets, mask, wide.data(), in_order);
    for (size_t k = 0; k < wide.size(); ++k) EXPECT(columns[k].bits == from_float<T>(wide[k]).bits);
    const OnDevice<T> on_features(features), on_upstream(upstream), on_columns(columns.size());
    const OnDevice<float> on_offsets(c.offsets), on_mask(c.mask);
    EXPECT(cuda::columns(p, on_features.data(), on_offsets.data(), on_mask.data(), on_columns.data(), nullptr) ==
           nullptr);
    const std::vector<T> cuda_columns = on_columns.values();
    for (size_t k = 0; k < wide.size(); ++k) {
      EXPECT_NEAR(to_float(cuda_columns[k]), wide[k], 1e-4 + fabs(wide[k]) / 128);
    }
    std::vector<float> to[3] = {std::vector<float>(map_count(p)), std::vector<float>(2 * sample_count(p)),
                                std::vector<float>(c.mask.size())};
    std::vector<float> from_wide[3] = {to[0], to[1], to[2]};
    cpu::backward(p, upstream.data(), features.data(), offsets, mask, to[0].data(), to[1].data(), to[2].data(), 2,
                  in_order);
    cpu::backward(p, c.upstream.data(), c.features.data(), offsets, mask, from_wide[0].data(), from_wide[1].data(),
                  from_wide[2].data(), 2, in_order);
    const OnDevice<float> cuda_to[3] = {OnDevice<float>(to[0].size()), OnDevice<float>(to[1].size()),
                                        OnDevice<float>(to[2].size())};
    EXPECT(cuda::backward(p, on_upstream.data(), on_features.data(), on_offsets.data(), on_mask.data(),
                          cuda_to[0].data(), cuda_to[1].data(), cuda_to[2].data(), nullptr) == nullptr);
    for (int i = 0; i < 3; ++i) {
      const std::vector<float> on_cuda = cuda_to[i].values();
      for (size_t k = 0; k < to[i].size(); ++k) {
        EXPECT_NEAR(to[i][k], from_wide[i][k], 1e-4);
        EXPECT_NEAR(on_cuda[k], from_wide[i][k], 1e-3);
      }
    }
  }
}

}  // namespace
}  // namespace deformable
}  // namespace mrcnn

int main() {
  mrcnn::deformable::test_columns();
  mrcnn::deformable::test_backward();
  mrcnn::deformable::test_other_types<mrcnn::Half>();
  mrcnn::deformable::test_other_types<mrcnn::BFloat16>();
  if (mrcnn::failures == 0) printf("all tests passed\n");
  return mrcnn::failures == 0 ? 0 : 1;
}
