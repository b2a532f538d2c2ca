// What the unit tests of the kernels share: expectations, threads, arrays on the device.
#ifndef MRCNN_COMMON_UNIT_TEST_H_
#define MRCNN_COMMON_UNIT_TEST_H_

#include <cuda_runtime.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <random>
#include <thread>
#include <vector>

#include "numbers.h"
#include "parallel.h"

namespace mrcnn {
namespace {

int failures = 0;

inline void expect(bool holds, const char* what, const char* file, int line) {
  if (holds) return;
  fprintf(stderr, "%s:%d: %s\n", file, line, what);
  if (++failures > 20) exit(1);
}
#define EXPECT(condition) expect(condition, #condition, __FILE__, __LINE__)
#define EXPECT_NEAR(a, b, tolerance) EXPECT(fabs(static_cast<double>(a) - static_cast<double>(b)) <= (tolerance))

constexpr int kThreads = 4;

// Real threads, so that the thread sanitizer has something to see.
inline void in_threads(int64_t total, int64_t, const cpu::Body& body) {
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    const int64_t begin = total * t / kThreads, end = total * (t + 1) / kThreads;
    if (begin < end) threads.emplace_back([&body, begin, end] { body(begin, end); });
  }
  for (std::thread& thread : threads) thread.join();
}

inline void in_order(int64_t total, int64_t, const cpu::Body& body) {
  if (total > 0) body(0, total);
}

inline std::vector<float> draw(std::mt19937* random, size_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(*random);
  return values;
}

// An array in the memory that the CUDA kernels see: the GPU's, or with the shim the host's.
template <typename T>
class OnDevice {
 public:
  explicit OnDevice(const std::vector<T>& values) : count_(values.size()) {
    EXPECT(cudaMalloc(&memory_, bytes() + 1) == cudaSuccess);  // also where there are none
    EXPECT(cudaMemcpy(memory_, values.data(), bytes(), cudaMemcpyHostToDevice) == cudaSuccess);
  }
  explicit OnDevice(size_t count) : OnDevice(std::vector<T>(count)) {}
  ~OnDevice() { cudaFree(memory_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  T* data() const { return static_cast<T*>(memory_); }

  std::vector<T> values() const {  // waits for the kernels that write them
    std::vector<T> copy(count_);
    EXPECT(cudaMemcpy(copy.data(), memory_, bytes(), cudaMemcpyDeviceToHost) == cudaSuccess);
    return copy;
  }

 private:
  size_t bytes() const { return count_ * sizeof(T); }

  size_t count_;
  void* memory_ = nullptr;
};

}  // namespace
}  // namespace mrcnn

#endif  // MRCNN_COMMON_UNIT_TEST_H_
