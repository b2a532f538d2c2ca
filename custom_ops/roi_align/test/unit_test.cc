// The arithmetic and the kernels without TensorFlow: hand numbers, slow loops in double precision, properties. Run by
// `make test`, under the sanitizers by `make asan` and `make tsan`, and by `make gpu` with the CUDA kernels on a GPU.
#include <string>

#include "../../common/unit_test.h"
#include "kernels.h"
#include "taps.h"

namespace mrcnn {
namespace {

Params make_params(int height, int width, float scale) {
  Params p = {};
  p.num_levels = 1;
  p.levels[0] = {height, width, scale};
  p.batch = p.channels = p.num_rois = p.bins_y = p.bins_x = p.sampling_ratio = 1;
  p.canonical_size = 224.0f;
  p.canonical_level = 4;
  p.level_epsilon = 1e-6f;
  return p;
}

// --- The slow way, in double precision, written from the paper ---

double bilinear(const std::vector<double>& map, int height, int width, double y, double x) {
  if (y < -1 || y > height || x < -1 || x > width) return 0;
  y = fmin(fmax(y, 0), height - 1);
  x = fmin(fmax(x, 0), width - 1);
  const int y0 = static_cast<int>(y), x0 = static_cast<int>(x);
  const int y1 = y0 + 1 < height ? y0 + 1 : y0, x1 = x0 + 1 < width ? x0 + 1 : x0;
  const double ly = y - y0, lx = x - x0;
  return (1 - ly) * ((1 - lx) * map[y0 * width + x0] + lx * map[y0 * width + x1]) +
         ly * ((1 - lx) * map[y1 * width + x0] + lx * map[y1 * width + x1]);
}

double slow_bin(const std::vector<double>& map, const Params& p, const float* box, int i, int j) {
  const double scale = p.levels[0].scale, shift = p.aligned ? 0.5 : 0;
  const double y1 = box[0] * scale - shift, x1 = box[1] * scale - shift;
  double height = box[2] * scale - shift - y1, width = box[3] * scale - shift - x1;
  if (!p.aligned) {
    height = fmax(height, 1);
    width = fmax(width, 1);
  }
  const int ny = p.sampling_ratio ? p.sampling_ratio : static_cast<int>(ceil(height / p.bins_y));
  const int nx = p.sampling_ratio ? p.sampling_ratio : static_cast<int>(ceil(width / p.bins_x));
  double sum = 0;
  for (int a = 0; a < ny; ++a) {
    for (int b = 0; b < nx; ++b) {
      const double y = y1 + height / p.bins_y * (i + (a + 0.5) / ny), x = x1 + width / p.bins_x * (j + (b + 0.5) / nx);
      sum += bilinear(map, p.levels[0].height, p.levels[0].width, y, x);
    }
  }
  return ny > 0 && nx > 0 ? sum / (static_cast<double>(ny) * nx) : 0;
}

// --- Tests ---

void test_half_and_bfloat16() {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const Half half{static_cast<uint16_t>(bits)};
    const float value = to_float(half);
    const int exponent = (bits >> 10) & 31, mantissa = bits & 1023;
    if (exponent == 31 && mantissa != 0) {
      EXPECT(isnan(value) && isnan(to_float(from_float<Half>(value))));
    } else {
      double expected = exponent == 31  ? INFINITY
                        : exponent == 0 ? ldexp(mantissa, -24)
                                        : ldexp(1024 + mantissa, exponent - 25);
      if (bits & 0x8000) expected = -expected;
      EXPECT(value == static_cast<float>(expected));
      EXPECT(from_float<Half>(value).bits == bits);
    }
    const BFloat16 brain{static_cast<uint16_t>(bits)};
    if (!isnan(to_float(brain))) EXPECT(from_float<BFloat16>(to_float(brain)).bits == bits);
  }
  EXPECT(from_float<Half>(65519.0f).bits == 0x7bff && from_float<Half>(65520.0f).bits == 0x7c00);
  EXPECT(from_float<Half>(1.00048828125f).bits == 0x3c00);   // half-way: to even
  EXPECT(from_float<Half>(1.00146484375f).bits == 0x3c02);
  EXPECT(from_float<Half>(2.9802322387695312e-08f).bits == 0);  // half of the least subnormal
  EXPECT(from_float<Half>(-INFINITY).bits == 0xfc00);
  EXPECT(from_float<BFloat16>(1.00390625f).bits == 0x3f80 && from_float<BFloat16>(1.01171875f).bits == 0x3f82);
  EXPECT(isnan(to_float(from_float<BFloat16>(NAN))));
}

void test_levels() {
  Params p = make_params(200, 272, 0.25f);
  p.num_levels = 4;
  p.min_level = 2;
  for (int level = 0; level < 4; ++level) p.levels[level] = {200 >> level, 272 >> level, ldexpf(0.25f, -level)};
  const float sides[] = {0, 1, 111, 112, 113, 223.9f, 224, 447, 448, 1e6f, 3e38f};
  const int floor_levels[] = {0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 3};
  for (int rule : {kFloorInside, kFloorAfter}) {
    p.level_rule = rule;
    for (int k = 0; k < 11; ++k) {
      const float box[] = {0, 0, sides[k], sides[k]};
      EXPECT(assign_level(p, box) == floor_levels[k]);
    }
  }
  p.level_rule = kRoundImageArea;  // half-way between 112 and 224 as a logarithm lies 158.4
  p.levels[0] = {256, 256, 0.25f};
  const float below[] = {0, 0, 157, 157}, above[] = {0, 0, 159, 159};
  EXPECT(assign_level(p, below) == 1 && assign_level(p, above) == 2);
}

void test_faults() {
  Params p = make_params(10, 10, 1.0f);
  p.batch = 2;
  p.sampling_ratio = 0;
  Roi roi;
  const float good[] = {1, 1, 3, 3}, bad[] = {1, NAN, 3, 3}, infinite[] = {1, 1, INFINITY, 3};
  const float large[] = {-3e9f, 0, 3e9f, 1}, giant[] = {-3e38f, -3e38f, 3e38f, 3e38f};
  EXPECT(place_roi(p, good, 1, &roi) == kNoFault && roi.image == 1);
  EXPECT(place_roi(p, bad, -1, &roi) == kNoFault && roi.image == -1);
  EXPECT(place_roi(p, good, 2, &roi) == kBadIndex && roi.image == -1);
  EXPECT(place_roi(p, good, -2, &roi) == kBadIndex && roi.image == -1);
  EXPECT(place_roi(p, bad, 0, &roi) == kNotFinite && roi.image == -1);
  EXPECT(place_roi(p, infinite, 0, &roi) == kNotFinite && roi.image == -1);
  EXPECT(place_roi(p, large, 0, &roi) == kTooLarge && roi.image == -1);
  EXPECT(place_roi(p, giant, 0, &roi) == kTooLarge && roi.image == -1);
  p.sampling_ratio = 2;
  EXPECT(place_roi(p, giant, 0, &roi) == kNoFault);
  p.levels[0] = {0, 10, 1.0f};
  EXPECT(place_roi(p, good, 0, &roi) == kNoFault && roi.image == -1);
  const float boxes[] = {1, 1, 3, 3, 1, 1, 3, 3};
  const int image[] = {0, 7};
  p.num_rois = 2;
  const FaultAt at = cpu::check(p, boxes, image);
  EXPECT(at.fault == kBadIndex && at.roi == 1 && at.image == 7 && at.box[2] == 3);
}

// Far outside, on the border, inverted, huge: every sample inside the map is found, every tap lies inside the map, and
// weights of one bin sum to the share of its samples that are inside.
void test_taps_stay_inside() {
  std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  for (int trial = 0; trial < 3000; ++trial) {
    const int size = 1 + static_cast<int>(random() % 40), bins = 1 + static_cast<int>(random() % 15);
    const float reach = powf(10.0f, 3.0f * fabsf(uniform(random)));
    float start = reach * uniform(random), bin = reach / bins * uniform(random);
    if (trial % 7 == 0) start = floorf(start);
    if (trial % 11 == 0) bin = roundf(bin);
    const bool adaptive = trial % 2;
    const int samples = adaptive ? static_cast<int>(fmaxf(ceilf(bin), 1)) : 1 + static_cast<int>(random() % 4);
    AxisTaps axis;
    make_taps(start, bin, samples, adaptive, size, bins, &axis);
    EXPECT(static_cast<int>(axis.first.size()) == bins + 1);
    for (int index = 0; index < bins; ++index) {
      int first, end, inside = 0, found = 0;
      sample_range(start, bin, samples, size, index, &first, &end);
      EXPECT(0 <= first && end <= samples);
      for (int sample = 0; sample < samples; ++sample) {
        int low, high;
        float fraction;
        if (!axis_sample(start, bin, samples, adaptive, size, index, sample, &low, &high, &fraction)) continue;
        EXPECT(0 <= low && low <= high && high < size && 0 <= fraction && fraction < 1);
        ++inside;
        found += first <= sample && sample < end;
      }
      EXPECT(inside == found);
      double sum = 0;
      for (int t = axis.first[index]; t < axis.first[index + 1]; ++t) {
        EXPECT(0 <= axis.taps[t].cell && axis.taps[t].cell < size);
        for (int other = axis.first[index]; other < t; ++other) {
          EXPECT(axis.taps[other].cell != axis.taps[t].cell);
        }
        sum += axis.taps[t].weight;
      }
      EXPECT_NEAR(sum, static_cast<double>(inside) / samples, 1e-4);
    }
  }
}

void test_pool_ranges() {
  int first, end;
  pool_range(0, 31, 1 / 16.0f, 1, 10, 0, &first, &end);  // round(31 / 16) = 2, the last cell included
  EXPECT(first == 0 && end == 3);
  pool_range(8, 8, 1 / 16.0f, 2, 10, 1, &first, &end);  // round(0.5) = 1, away from zero; one cell in two bins
  EXPECT(first == 1 && end == 2);
  pool_range(-1e30f, 1e30f, 1, 7, 10, 3, &first, &end);
  EXPECT(0 <= first && end <= 10);
  pool_range(1000, 2000, 1, 7, 10, 3, &first, &end);
  EXPECT(first >= end);
}

struct Case {
  Params p;
  std::vector<float> boxes;
  std::vector<int> image;
};

Case make_case(std::mt19937* random, int trial) {
  std::uniform_real_distribution<float> uniform(0, 1);
  Case c;
  c.p = make_params(1 + static_cast<int>((*random)() % 13), 1 + static_cast<int>((*random)() % 13), 0.25f);
  const int channels[] = {1, 3, 17, 64, 70, 100};
  c.p.batch = 1 + trial % 3;
  c.p.channels = channels[trial % 6];
  c.p.num_rois = trial % 9;
  c.p.bins_y = 1 + trial % 5;
  c.p.bins_x = 1 + trial % 7;
  c.p.sampling_ratio = trial % 4;
  c.p.aligned = trial % 5 < 2;
  for (int r = 0; r < c.p.num_rois; ++r) {
    const float y = 80 * uniform(*random) - 15, x = 80 * uniform(*random) - 15, side = 60 * uniform(*random) - 5;
    for (float v : {y, x, y + side, x + side * uniform(*random)}) c.boxes.push_back(v);
    c.image.push_back(r % 8 == 7 ? -1 : static_cast<int>((*random)() % c.p.batch));
  }
  return c;
}

size_t map_count(const Params& p) {
  return static_cast<size_t>(p.batch) * p.levels[0].height * p.levels[0].width * p.channels;
}
size_t pooled_count(const Params& p) {
  return static_cast<size_t>(p.num_rois) * p.bins_y * p.bins_x * p.channels;
}

// CPU kernels and CUDA kernels against the slow loops.
void test_forward() {
  std::mt19937 random(2);
  for (int trial = 0; trial < 120; ++trial) {
    const Case c = make_case(&random, trial);
    const Params& p = c.p;
    const std::vector<float> features = draw(&random, map_count(p));
    std::vector<float> pooled(pooled_count(p), NAN);
    const float* maps[] = {features.data()};
    EXPECT(cpu::check(p, c.boxes.data(), c.image.data()).fault == kNoFault);
    cpu::forward(p, maps, c.boxes.data(), c.image.data(), pooled.data(), in_threads);
    const OnDevice<float> on_features(features), on_boxes(c.boxes),
        on_pooled(std::vector<float>(pooled.size(), NAN));
    const OnDevice<int> on_image(c.image), first(1);
    const OnDevice<Roi> rois(p.num_rois);
    const float* on_maps[] = {on_features.data()};
    FaultAt fault;
    EXPECT(cuda::place(p, on_boxes.data(), on_image.data(), rois.data(), first.data(), &fault, nullptr) == nullptr);
    EXPECT(fault.fault == kNoFault);
    EXPECT(cuda::forward(p, on_maps, rois.data(), on_pooled.data(), nullptr) == nullptr);
    const std::vector<float> cuda_pooled = on_pooled.values();
    const int cells = p.levels[0].height * p.levels[0].width;
    std::vector<double> map(cells);
    size_t at = 0;
    for (int r = 0; r < p.num_rois; ++r) {
      for (int bin = 0; bin < p.bins_y * p.bins_x; ++bin) {
        for (int channel = 0; channel < p.channels; ++channel, ++at) {
          double expected = 0;
          if (c.image[r] >= 0) {
            for (int k = 0; k < cells; ++k) map[k] = features[(c.image[r] * cells + k) * p.channels + channel];
            expected = slow_bin(map, p, &c.boxes[4 * r], bin / p.bins_x, bin % p.bins_x);
          }
          EXPECT_NEAR(pooled[at], expected, 1e-4);
          EXPECT_NEAR(cuda_pooled[at], expected, 1e-4);
        }
      }
    }
  }
}

// The gradient is the transpose: <forward(x), g> = <x, backward(g)> for every x and g. Besides, the same digits for any
// number of threads and for both CUDA paths nearly so.
void test_backward() {
  std::mt19937 random(3);
  for (int trial = 0; trial < 120; ++trial) {
    const Case c = make_case(&random, trial);
    const Params& p = c.p;
    const std::vector<float> features = draw(&random, map_count(p)), upstream = draw(&random, pooled_count(p));
    std::vector<float> pooled(pooled_count(p));
    const float* maps[] = {features.data()};
    cpu::forward(p, maps, c.boxes.data(), c.image.data(), pooled.data(), in_order);
    const std::vector<float> unwritten(map_count(p), NAN);
    std::vector<float> gradient = unwritten, serial = unwritten;
    float *to[] = {gradient.data()}, *to_serial[] = {serial.data()};
    cpu::backward(p, upstream.data(), c.boxes.data(), c.image.data(), to, in_threads);
    cpu::backward(p, upstream.data(), c.boxes.data(), c.image.data(), to_serial, in_order);
    const OnDevice<float> on_upstream(upstream), on_boxes(c.boxes), on_atomic(unwritten), on_gathered(unwritten);
    const OnDevice<int> on_image(c.image);
    const OnDevice<Roi> rois(p.num_rois);
    float *to_atomic[] = {on_atomic.data()}, *to_gathered[] = {on_gathered.data()};
    EXPECT(cuda::place(p, on_boxes.data(), on_image.data(), rois.data(), nullptr, nullptr, nullptr) == nullptr);
    EXPECT(cuda::backward(p, on_upstream.data(), rois.data(), to_atomic, nullptr) == nullptr);
    EXPECT(cuda::backward_deterministic(p, on_upstream.data(), rois.data(), to_gathered, nullptr) == nullptr);
    const std::vector<float> atomic = on_atomic.values(), gathered = on_gathered.values();
    EXPECT(cuda::backward_deterministic(p, on_upstream.data(), rois.data(), to_gathered, nullptr) == nullptr);
    EXPECT(on_gathered.values() == gathered);
    double left = 0, right = 0, size = 1e-6;
    for (size_t k = 0; k < pooled.size(); ++k) {
      left += static_cast<double>(pooled[k]) * upstream[k];
      size += fabs(static_cast<double>(pooled[k]) * upstream[k]);
    }
    for (size_t k = 0; k < gradient.size(); ++k) {
      right += static_cast<double>(features[k]) * gradient[k];
      EXPECT(gradient[k] == serial[k]);
      EXPECT_NEAR(atomic[k], gradient[k], 1e-4);
      EXPECT_NEAR(gathered[k], gradient[k], 1e-4);
    }
    EXPECT_NEAR(left, right, 1e-4 * size);
  }
}

template <typename T>
void test_other_types() {
  std::mt19937 random(4);
  for (int trial = 0; trial < 40; ++trial) {
    const Case c = make_case(&random, trial);
    const Params& p = c.p;
    std::vector<T> features, upstream, pooled(pooled_count(p)), converted(map_count(p));
    std::vector<float> wide_features, wide_upstream, wide_pooled(pooled_count(p));
    for (float value : draw(&random, map_count(p))) features.push_back(from_float<T>(value));
    for (float value : draw(&random, pooled_count(p))) upstream.push_back(from_float<T>(value));
    for (T value : features) wide_features.push_back(to_float(value));
    for (T value : upstream) wide_upstream.push_back(to_float(value));
    const T* maps[] = {features.data()};
    const float* wide_maps[] = {wide_features.data()};
    cpu::forward(p, maps, c.boxes.data(), c.image.data(), pooled.data(), in_order);
    cpu::forward(p, wide_maps, c.boxes.data(), c.image.data(), wide_pooled.data(), in_order);
    for (size_t k = 0; k < pooled.size(); ++k) EXPECT(pooled[k].bits == from_float<T>(wide_pooled[k]).bits);
    const OnDevice<T> on_features(features), on_upstream(upstream), on_pooled(pooled.size()), on_gathered(map_count(p));
    const OnDevice<float> on_boxes(c.boxes), on_atomic(map_count(p));
    const OnDevice<int> on_image(c.image);
    const OnDevice<Roi> rois(p.num_rois);
    const T* on_maps[] = {on_features.data()};
    EXPECT(cuda::place(p, on_boxes.data(), on_image.data(), rois.data(), nullptr, nullptr, nullptr) == nullptr);
    EXPECT(cuda::forward(p, on_maps, rois.data(), on_pooled.data(), nullptr) == nullptr);
    const std::vector<T> cuda_pooled = on_pooled.values();
    for (size_t k = 0; k < pooled.size(); ++k) {
      EXPECT_NEAR(to_float(cuda_pooled[k]), wide_pooled[k], 1e-4 + fabs(wide_pooled[k]) / 128);
    }
    std::vector<float> gradient(map_count(p));
    std::vector<T> narrow(map_count(p));
    float *to[] = {gradient.data()}, *to_atomic[] = {on_atomic.data()};
    T *to_narrow[] = {narrow.data()}, *to_gathered[] = {on_gathered.data()};
    cpu::backward(p, wide_upstream.data(), c.boxes.data(), c.image.data(), to, in_order);
    cpu::backward(p, upstream.data(), c.boxes.data(), c.image.data(), to_narrow, in_order);
    for (size_t k = 0; k < gradient.size(); ++k) EXPECT(narrow[k].bits == from_float<T>(gradient[k]).bits);
    EXPECT(cuda::backward(p, on_upstream.data(), rois.data(), to_atomic, nullptr) == nullptr);
    EXPECT(cuda::backward_deterministic(p, on_upstream.data(), rois.data(), to_gathered, nullptr) == nullptr);
    const std::vector<float> atomic = on_atomic.values();
    const std::vector<T> gathered = on_gathered.values();
    for (size_t k = 0; k < gradient.size(); ++k) {
      EXPECT_NEAR(atomic[k], gradient[k], 1e-4);
      EXPECT_NEAR(to_float(gathered[k]), gradient[k], 1e-4 + fabs(gradient[k]) / 128);
    }
    cpu::convert(gradient.data(), converted.data(), static_cast<int64_t>(converted.size()), in_threads);
    for (size_t k = 0; k < gradient.size(); ++k) EXPECT(converted[k].bits == from_float<T>(gradient[k]).bits);
    const OnDevice<float> on_gradient(gradient);
    EXPECT(cuda::convert(on_gradient.data(), on_gathered.data(), static_cast<int64_t>(gradient.size()), nullptr) ==
           nullptr);
    const std::vector<T> cuda_converted = on_gathered.values();
    for (size_t k = 0; k < gradient.size(); ++k) EXPECT(converted[k].bits == cuda_converted[k].bits);
  }
}

// A maximum is one of the cells it is taken over, argmax says which, and the gradient goes there.
void test_pool() {
  std::mt19937 random(5);
  for (int trial = 0; trial < 60; ++trial) {
    const Case c = make_case(&random, trial);
    const Params& p = c.p;
    const Level& level = p.levels[0];
    const std::vector<float> features = draw(&random, map_count(p)), upstream = draw(&random, pooled_count(p));
    std::vector<float> pooled(pooled_count(p));
    std::vector<int> argmax(pooled_count(p));
    cpu::pool_forward(p, features.data(), c.boxes.data(), c.image.data(), pooled.data(), argmax.data(), in_threads);
    const OnDevice<float> on_features(features), on_upstream(upstream), on_boxes(c.boxes), on_pooled(pooled.size());
    const OnDevice<int> on_image(c.image), on_argmax(argmax.size());
    EXPECT(cuda::pool_forward(p, on_features.data(), on_boxes.data(), on_image.data(), on_pooled.data(),
                              on_argmax.data(), nullptr) == nullptr);
    EXPECT(on_pooled.values() == pooled && on_argmax.values() == argmax);
    std::vector<float> expected(map_count(p));
    for (size_t at = 0; at < pooled.size(); ++at) {
      const size_t bin = at / p.channels, channel = at % p.channels;
      const int bins = p.bins_y * p.bins_x, r = static_cast<int>(bin / bins);
      const int i = static_cast<int>(bin) % bins / p.bins_x, j = static_cast<int>(bin) % p.bins_x;
      const float* box = &c.boxes[4 * r];
      int y0, y1, x0, x1, where = -1;
      pool_range(box[0], box[2], level.scale, p.bins_y, level.height, i, &y0, &y1);
      pool_range(box[1], box[3], level.scale, p.bins_x, level.width, j, &x0, &x1);
      float best = -INFINITY;
      for (int y = y0; c.image[r] >= 0 && y < y1; ++y) {
        for (int x = x0; x < x1; ++x) {
          const size_t cell = (static_cast<size_t>(c.image[r]) * level.height + y) * level.width + x;
          if (features[cell * p.channels + channel] > best) {
            best = features[cell * p.channels + channel];
            where = y * level.width + x;
          }
        }
      }
      EXPECT(argmax[at] == where && pooled[at] == (where < 0 ? 0.0f : best));
      if (where >= 0) {
        expected[(static_cast<size_t>(c.image[r]) * level.height * level.width + where) * p.channels + channel] +=
            upstream[at];
      }
    }
    std::vector<float> gradient(map_count(p), NAN);
    cpu::pool_backward(p, upstream.data(), argmax.data(), c.image.data(), gradient.data(), kThreads, in_threads);
    const OnDevice<float> on_atomic(gradient), on_ordered(gradient);
    EXPECT(cuda::pool_backward(p, on_upstream.data(), on_argmax.data(), on_image.data(), false, on_atomic.data(),
                               nullptr) == nullptr);
    EXPECT(cuda::pool_backward(p, on_upstream.data(), on_argmax.data(), on_image.data(), true, on_ordered.data(),
                               nullptr) == nullptr);
    const std::vector<float> atomic = on_atomic.values(), ordered = on_ordered.values();
    for (size_t k = 0; k < gradient.size(); ++k) {
      EXPECT_NEAR(gradient[k], expected[k], 1e-5);
      EXPECT_NEAR(atomic[k], expected[k], 1e-5);
      EXPECT(ordered[k] == gradient[k]);
    }
  }
}

void test_cuda_tells_the_first_fault() {
  Params p = make_params(10, 10, 1.0f);
  p.num_rois = 600;
  std::vector<float> boxes(4 * 600, 1.0f);
  std::vector<int> image(600, 0);
  boxes[4 * 500 + 3] = NAN;
  image[300] = 4;
  const OnDevice<float> on_boxes(boxes);
  const OnDevice<int> on_image(image), first(1);
  const OnDevice<Roi> on_rois(600);
  FaultAt fault;
  EXPECT(cuda::place(p, on_boxes.data(), on_image.data(), on_rois.data(), first.data(), &fault, nullptr) == nullptr);
  const std::vector<Roi> rois = on_rois.values();
  EXPECT(fault.fault == kBadIndex && fault.roi == 300 && fault.image == 4);
  EXPECT(rois[300].image == -1 && rois[500].image == -1 && rois[299].image == 0);
}

}  // namespace
}  // namespace mrcnn

int main() {
  mrcnn::test_half_and_bfloat16();
  mrcnn::test_levels();
  mrcnn::test_faults();
  mrcnn::test_taps_stay_inside();
  mrcnn::test_pool_ranges();
  mrcnn::test_forward();
  mrcnn::test_backward();
  mrcnn::test_other_types<mrcnn::Half>();
  mrcnn::test_other_types<mrcnn::BFloat16>();
  mrcnn::test_pool();
  mrcnn::test_cuda_tells_the_first_fault();
  if (mrcnn::failures == 0) printf("all tests passed\n");
  return mrcnn::failures == 0 ? 0 : 1;
}
