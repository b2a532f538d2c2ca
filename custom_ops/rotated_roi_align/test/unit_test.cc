// The kernels without TensorFlow: slow loops in double precision, properties, threads. Run by `make test`, under the
// sanitizers by `make asan` and `make tsan`, and by `make gpu` with the CUDA kernels on a GPU.
#include "../../common/unit_test.h"
#include "rotated_kernels.h"

namespace mrcnn {
namespace rotated {
namespace {

struct Case {
  Params p;
  std::vector<float> features, boxes, upstream;
  std::vector<int> image;
};

size_t map_count(const Params& p) { return static_cast<size_t>(p.batch) * p.height * p.width * p.channels; }
size_t pooled_count(const Params& p) { return static_cast<size_t>(p.num_rois) * p.bins_y * p.bins_x * p.channels; }

Case make_case(std::mt19937* random, int trial) {
  std::uniform_real_distribution<float> uniform(0, 1);
  Case c;
  Params& p = c.p = Params{};
  p.batch = 1 + trial % 3;
  p.height = 1 + static_cast<int>((*random)() % 11);
  p.width = 1 + static_cast<int>((*random)() % 11);
  const int channels[] = {1, 3, 16, 70};
  p.channels = channels[trial % 4];
  p.num_rois = trial % 7;
  p.bins_y = 1 + trial % 3;
  p.bins_x = 1 + trial % 5;
  p.sampling_ratio = trial % 4;
  p.stride = trial % 2 ? 4.0f : 3.0f;
  for (int r = 0; r < p.num_rois; ++r) {
    const float box[] = {50 * uniform(*random) - 5, 50 * uniform(*random) - 5, 40 * uniform(*random),
                         60 * uniform(*random), 720 * uniform(*random) - 360};
    c.boxes.insert(c.boxes.end(), box, box + 5);
    c.image.push_back(r == 5 ? -1 : static_cast<int>((*random)() % p.batch));
  }
  if (p.num_rois > 3) c.boxes[5 * 3 + trial % 5] = trial % 2 ? NAN : -INFINITY;
  if (p.num_rois > 4) c.boxes[5 * 4 + 2] = 0;
  c.features = draw(random, map_count(p));
  c.upstream = draw(random, pooled_count(p));
  return c;
}

// Calls body(image, y, x, weight) for every cell that a bin reads: the slow way, in double precision.
template <typename Body>
void for_each_read(const Case& c, int r, int i, int j, const Body& body) {
  const Params& p = c.p;
  const float* box = &c.boxes[5 * r];
  for (int k = 0; k < 5; ++k) {
    if (!std::isfinite(box[k])) return;
  }
  if (c.image[r] < 0) return;
  const double height = box[2] / static_cast<double>(p.stride) / p.bins_y;
  const double width = box[3] / static_cast<double>(p.stride) / p.bins_x;
  const int ny = p.sampling_ratio ? p.sampling_ratio : static_cast<int>(ceil(box[2] / p.stride / p.bins_y));
  const int nx = p.sampling_ratio ? p.sampling_ratio : static_cast<int>(ceil(box[3] / p.stride / p.bins_x));
  const double angle = box[4] * 3.14159265358979323846 / 180;
  for (int a = 0; a < ny; ++a) {
    for (int b = 0; b < nx; ++b) {
      const double v = height * (i + (a + 0.5) / ny - p.bins_y / 2.0), u = width * (j + (b + 0.5) / nx - p.bins_x / 2.0);
      double y = v * cos(angle) - u * sin(angle) + box[0] / static_cast<double>(p.stride) - 0.5;
      double x = v * sin(angle) + u * cos(angle) + box[1] / static_cast<double>(p.stride) - 0.5;
      if (y < -1 || y > p.height || x < -1 || x > p.width) continue;
      y = fmin(fmax(y, 0), p.height - 1);
      x = fmin(fmax(x, 0), p.width - 1);
      const int y0 = static_cast<int>(y), x0 = static_cast<int>(x);
      const int y1 = y0 + 1 < p.height ? y0 + 1 : y0, x1 = x0 + 1 < p.width ? x0 + 1 : x0;
      const double ly = y - y0, lx = x - x0, share = 1.0 / (ny * nx);
      body(y0, x0, (1 - ly) * (1 - lx) * share);
      body(y0, x1, (1 - ly) * lx * share);
      body(y1, x0, ly * (1 - lx) * share);
      body(y1, x1, ly * lx * share);
    }
  }
}

template <typename T>
double wide(T value) {
  return to_float(value);
}

// Forward and gradient of the CPU and of CUDA against the slow loops; the same digits on any number of threads.
template <typename T>
void test_both(double tolerance) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 56; ++trial) {
    Case c = make_case(&random, trial);
    const Params& p = c.p;
    std::vector<T> features, upstream;
    for (const float value : c.features) features.push_back(from_float<T>(value));
    for (const float value : c.upstream) upstream.push_back(from_float<T>(value));
    std::vector<T> pooled(pooled_count(p));
    std::vector<float> gradient(map_count(p), NAN), serial = gradient;
    const float* boxes = c.boxes.data();
    const int* image = c.image.data();
    cpu::forward(p, features.data(), boxes, image, pooled.data(), in_threads);
    cpu::backward(p, upstream.data(), boxes, image, gradient.data(), kThreads, in_threads);
    cpu::backward(p, upstream.data(), boxes, image, serial.data(), 1, in_order);
    EXPECT(gradient == serial);
    const OnDevice<T> on_features(features), on_upstream(upstream), on_pooled(pooled.size());
    const OnDevice<float> on_boxes(c.boxes), on_gradient(gradient.size());
    const OnDevice<int> on_image(c.image);
    EXPECT(cuda::forward(p, on_features.data(), on_boxes.data(), on_image.data(), on_pooled.data(), nullptr) ==
           nullptr);
    EXPECT(cuda::backward(p, on_upstream.data(), on_boxes.data(), on_image.data(), on_gradient.data(), nullptr) ==
           nullptr);
    const std::vector<T> cuda_pooled = on_pooled.values();
    const std::vector<float> cuda_gradient = on_gradient.values();
    std::vector<double> want(map_count(p));
    size_t at = 0;
    for (int r = 0; r < p.num_rois; ++r) {
      const size_t map = static_cast<size_t>(c.image[r] < 0 ? 0 : c.image[r]) * p.height * p.width;
      for (int bin = 0; bin < p.bins_y * p.bins_x; ++bin) {
        for (int channel = 0; channel < p.channels; ++channel, ++at) {
          double expected = 0;
          for_each_read(c, r, bin / p.bins_x, bin % p.bins_x, [&](int y, int x, double weight) {
            const size_t cell = (map + static_cast<size_t>(y) * p.width + x) * p.channels + channel;
            expected += weight * wide(features[cell]);
            want[cell] += weight * wide(upstream[at]);
          });
          EXPECT_NEAR(wide(pooled[at]), expected, 2e-4 + tolerance * fabs(expected));
          EXPECT_NEAR(wide(cuda_pooled[at]), expected, 2e-4 + tolerance * fabs(expected));
        }
      }
    }
    for (size_t k = 0; k < want.size(); ++k) {
      EXPECT_NEAR(gradient[k], want[k], 5e-4);
      EXPECT_NEAR(cuda_gradient[k], want[k], 5e-4);
    }
  }
}

}  // namespace
}  // namespace rotated
}  // namespace mrcnn

int main() {
  mrcnn::rotated::test_both<float>(0);
  mrcnn::rotated::test_both<mrcnn::Half>(1e-3);
  mrcnn::rotated::test_both<mrcnn::BFloat16>(8e-3);
  if (mrcnn::failures == 0) printf("all tests passed\n");
  return mrcnn::failures == 0 ? 0 : 1;
}
