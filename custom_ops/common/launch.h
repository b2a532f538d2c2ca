// What the CUDA kernels share: how they are launched, packs of neighboring channels, atomic additions. nvcc compiles them
// into the library; with shim/ in the place of CUDA's own header a C++ compiler compiles them into the tests.
#ifndef MRCNN_COMMON_LAUNCH_H_
#define MRCNN_COMMON_LAUNCH_H_

#include <cuda_runtime.h>
#include <stdint.h>

#if defined(__CUDACC__)
#define MRCNN_CONSTANT const __grid_constant__  // read in place, also by a level that is known at run time only
#define MRCNN_UNROLL _Pragma("unroll")
#define MRCNN_LAUNCH(kernel, grid, block, stream, ...) \
  kernel<<<grid, block, 0, static_cast<cudaStream_t>(stream)>>>(__VA_ARGS__)
#endif

namespace mrcnn {
namespace cuda {
namespace {

constexpr int kThreads = 256;

template <typename T, int kCount>
struct alignas(sizeof(T) * kCount) Pack {
  T value[kCount];
};

// Whether one thread may take kCount channels at once rather than one.
template <typename T, int kCount>
bool packs(int channels, const void* pointer) {
  return channels % kCount == 0 && reinterpret_cast<uintptr_t>(pointer) % (kCount * sizeof(T)) == 0;
}

// Threads of a block: along x groups of channels, up to 128, along y bins or cells.
inline dim3 block_of(int groups) {
  unsigned x = 1;
  while (x < 128 && static_cast<int>(x) < groups) x *= 2;
  return dim3(x, kThreads / x, 1);
}

// Units beyond the grid's limit are taken by later turns of the kernels' loops.
inline dim3 grid_of(int64_t units, const dim3& block) {
  const int64_t blocks = (units + block.y - 1) / block.y;
  return dim3(static_cast<unsigned>(blocks < 1 ? 1 : blocks > 0x3fffffff ? 0x3fffffff : blocks), 1, 1);
}

inline const char* last_error() {
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

// Adds `weight * value` to `kCount` neighboring floats.
template <int kCount>
__device__ __forceinline__ void add(float* to, float weight, const float* value) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  if constexpr (kCount % 4 == 0) {  // four at once; maps are 16-byte aligned wherever kCount is not 1
MRCNN_UNROLL
    for (int k = 0; k < kCount; k += 4) {
      atomicAdd(reinterpret_cast<float4*>(to + k), make_float4(weight * value[k], weight * value[k + 1],
                                                               weight * value[k + 2], weight * value[k + 3]));
    }
  } else {
    for (int k = 0; k < kCount; ++k) atomicAdd(to + k, weight * value[k]);
  }
#else
MRCNN_UNROLL
  for (int k = 0; k < kCount; ++k) atomicAdd(to + k, weight * value[k]);
#endif
}

}  // namespace
}  // namespace cuda
}  // namespace mrcnn

#endif  // MRCNN_COMMON_LAUNCH_H_
