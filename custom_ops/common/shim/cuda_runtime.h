// As much of CUDA as cuda_kernels.cu uses, for a C++ compiler without CUDA: a launch runs the kernel once per thread, one
// after another. Kernels that wait for one another cannot be run so, and none here does.
#ifndef MRCNN_TEST_SHIM_CUDA_RUNTIME_H_
#define MRCNN_TEST_SHIM_CUDA_RUNTIME_H_

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

inline thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;

using cudaError_t = int;
using cudaStream_t = void*;
constexpr int cudaSuccess = 0, cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2;
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return "no error"; }
inline cudaError_t cudaMalloc(void** to, size_t size) {
  *to = malloc(size);
  return *to == nullptr;
}
inline cudaError_t cudaFree(void* memory) {
  free(memory);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpy(void* to, const void* from, size_t size, int) {
  if (size > 0) memcpy(to, from, size);
  return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaMemsetAsync(void* to, int byte, size_t size, cudaStream_t) {
  if (size > 0) memset(to, byte, size);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size, int, cudaStream_t) {
  memcpy(to, from, size);
  return cudaSuccess;
}

inline float atomicAdd(float* to, float value) {
  const float before = *to;
  *to = before + value;
  return before;
}
inline int atomicMin(int* to, int value) {
  const int before = *to;
  *to = std::min(before, value);
  return before;
}

template <typename Kernel, typename... Args>
void shim_launch(Kernel kernel, dim3 grid, dim3 block, Args... args) {
  gridDim = grid;
  blockDim = block;
  for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x) {
    for (threadIdx.y = 0; threadIdx.y < block.y; ++threadIdx.y) {
      for (threadIdx.x = 0; threadIdx.x < block.x; ++threadIdx.x) kernel(args...);
    }
  }
}
#define MRCNN_CONSTANT const
#define MRCNN_UNROLL
#define MRCNN_LAUNCH(kernel, grid, block, stream, ...) ((void)(stream), shim_launch(kernel, grid, block, __VA_ARGS__))

#endif  // MRCNN_TEST_SHIM_CUDA_RUNTIME_H_
