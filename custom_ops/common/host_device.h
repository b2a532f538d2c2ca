// Functions that both a C++ compiler and nvcc compile, for the host and the device.
#ifndef MRCNN_COMMON_HOST_DEVICE_H_
#define MRCNN_COMMON_HOST_DEVICE_H_

#if defined(__CUDACC__)
#define MRCNN_HD __host__ __device__ __forceinline__
#else
#define MRCNN_HD inline
#endif

#endif  // MRCNN_COMMON_HOST_DEVICE_H_
