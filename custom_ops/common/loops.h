// Loops over channels, which lie side by side in memory, in blocks held in vector registers. Each is compiled for several
// instruction sets and chosen at run time, so that a library built on one machine runs on another. Every file that
// includes this has loops of its own.
#ifndef MRCNN_COMMON_LOOPS_H_
#define MRCNN_COMMON_LOOPS_H_

#include <stdint.h>
#include <string.h>

#include <algorithm>

#include "numbers.h"
#include "parallel.h"

#if defined(__x86_64__)
#define MRCNN_AVX2 __attribute__((target("avx2,fma")))
#define MRCNN_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma")))
#endif
#define MRCNN_INLINE inline __attribute__((always_inline))

namespace mrcnn {
namespace cpu {
namespace {

constexpr int kCacheLine = 16;  // floats
constexpr int kVectors = 4;     // vector registers summed into at once

// `kLanes` numbers side by side. The compiler's own vector type, because it does not turn an array of sums that is kept
// over the taps of a bin into registers by itself.
template <int kLanes>
struct Vector;
#define MRCNN_VECTOR(LANES)                                                          \
  template <>                                                                        \
  struct Vector<LANES> {                                                             \
    typedef float Floats __attribute__((vector_size(4 * LANES)));                    \
    typedef uint32_t Words __attribute__((vector_size(4 * LANES)));                  \
    typedef uint16_t Shorts __attribute__((vector_size(2 * LANES)));                 \
  };
MRCNN_VECTOR(4)
MRCNN_VECTOR(8)
MRCNN_VECTOR(16)
#undef MRCNN_VECTOR

template <int kLanes>
MRCNN_INLINE void load(const float* from, typename Vector<kLanes>::Floats* to) {
  memcpy(to, from, sizeof(*to));
}
template <int kLanes>
MRCNN_INLINE void load(const BFloat16* from, typename Vector<kLanes>::Floats* to) {
  typename Vector<kLanes>::Shorts bits;
  memcpy(&bits, from, sizeof(bits));
  *to = (typename Vector<kLanes>::Floats)(__builtin_convertvector(bits, typename Vector<kLanes>::Words) << 16);
}
template <int kLanes>
MRCNN_INLINE void load(const Half* from, typename Vector<kLanes>::Floats* to) {  // see to_float(Half)
  typedef typename Vector<kLanes>::Floats Floats;
  typedef typename Vector<kLanes>::Words Words;
  typename Vector<kLanes>::Shorts half;
  memcpy(&half, from, sizeof(half));
  const Words word = __builtin_convertvector(half, Words), magnitude = word & 0x7fffu;
  Words bits = (magnitude << 13) + (112u << 23);
  bits = magnitude >= 0x7c00u ? bits + (112u << 23) : bits;
  bits = magnitude < 0x0400u ? (Words)((Floats)(bits + (1u << 23)) - 6.103515625e-05f) : bits;
  *to = (Floats)(bits | ((word & 0x8000u) << 16));
}

template <int kLanes>
MRCNN_INLINE void store(const typename Vector<kLanes>::Floats& value, float* to) {
  memcpy(to, &value, sizeof(value));
}
template <int kLanes>
MRCNN_INLINE void store(const typename Vector<kLanes>::Floats& value, BFloat16* to) {  // see from_float<BFloat16>
  typedef typename Vector<kLanes>::Words Words;
  const Words bits = (Words)value;
  Words rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  rounded = (bits & 0x7fffffffu) > 0x7f800000u ? rounded * 0u + 0x7fc0u : rounded;
  const typename Vector<kLanes>::Shorts out = __builtin_convertvector(rounded, typename Vector<kLanes>::Shorts);
  memcpy(to, &out, sizeof(out));
}
template <int kLanes>
MRCNN_INLINE void store(const typename Vector<kLanes>::Floats& value, Half* to) {  // see from_float<Half>
  typedef typename Vector<kLanes>::Floats Floats;
  typedef typename Vector<kLanes>::Words Words;
  const Words bits = (Words)value, magnitude = bits & 0x7fffffffu, none = bits * 0u;
  const Words subnormal = (Words)((Floats)magnitude + 0.5f) - 0x3f000000u;
  Words half = (magnitude - (112u << 23) + 0x0fffu + ((magnitude >> 13) & 1u)) >> 13;
  half = magnitude < 0x38800000u ? subnormal : half;
  half = magnitude >= 0x47800000u ? none + 0x7c00u : half;
  half = magnitude > 0x7f800000u ? none + 0x7e00u : half;
  half |= (bits >> 16) & 0x8000u;
  const typename Vector<kLanes>::Shorts out = __builtin_convertvector(half, typename Vector<kLanes>::Shorts);
  memcpy(to, &out, sizeof(out));
}

// out = [out +] sum over t of weight[t] * source[t], for `kCount` vectors of channels.
template <int kLanes, int kCount, bool kAdd, typename T, typename Out>
MRCNN_INLINE void sum_block(const T* const* source, const float* weight, int taps, int c, Out* out) {
  typename Vector<kLanes>::Floats sum[kCount] = {}, value;
  if (kAdd) {
#pragma GCC unroll 4
    for (int k = 0; k < kCount; ++k) load<kLanes>(out + c + k * kLanes, &sum[k]);
  }
  for (int t = 0; t < taps; ++t) {
    const T* from = source[t] + c;
    const float w = weight[t];
#pragma GCC unroll 4
    for (int k = 0; k < kCount; ++k) {
      load<kLanes>(from + k * kLanes, &value);
      sum[k] += w * value;
    }
  }
#pragma GCC unroll 4
  for (int k = 0; k < kCount; ++k) store<kLanes>(sum[k], out + c + k * kLanes);
}

template <int kLanes, bool kAdd, typename T, typename Out>
MRCNN_INLINE void sum_body(const T* const* source, const float* weight, int taps, int channels, Out* out) {
  int c = 0;
  for (; c + kVectors * kLanes <= channels; c += kVectors * kLanes) {
    sum_block<kLanes, kVectors, kAdd>(source, weight, taps, c, out);
  }
  for (; c + kLanes <= channels; c += kLanes) sum_block<kLanes, 1, kAdd>(source, weight, taps, c, out);
  for (; c < channels; ++c) {
    float sum = kAdd ? to_float(out[c]) : 0.0f;
    for (int t = 0; t < taps; ++t) sum += weight[t] * to_float(source[t][c]);
    out[c] = from_float<Out>(sum);
  }
}

// Maximum over the cells of a bin, taken in order: the first of equals wins.
template <typename T>
MRCNN_INLINE void max_body(const T* source, const int* cell, int cells, int64_t stride, int channels, float* best,
                           int* argmax) {
  for (int c = 0; c < channels; ++c) {
    best[c] = -3.4028234663852886e38f;
    argmax[c] = -1;
  }
  for (int t = 0; t < cells; ++t) {
    const T* from = source + cell[t] * stride;
    const int here = cell[t];
    for (int c = 0; c < channels; ++c) {
      const float value = to_float(from[c]);
      const bool more = value > best[c];
      best[c] = more ? value : best[c];
      argmax[c] = more ? here : argmax[c];
    }
  }
}

// out[t] = sum over channels of left * right[t], for kCount vectors `right`.
template <int kLanes, int kCount, typename T>
MRCNN_INLINE void dots_body(const T* left, const T* const* right, int channels, float* out) {
  typename Vector<kLanes>::Floats sum[kCount] = {}, mine, value;
  int c = 0;
  for (; c + kLanes <= channels; c += kLanes) {
    load<kLanes>(left + c, &mine);
#pragma GCC unroll 4
    for (int t = 0; t < kCount; ++t) {
      load<kLanes>(right[t] + c, &value);
      sum[t] += mine * value;
    }
  }
  for (int t = 0; t < kCount; ++t) {
    float total = 0.0f;
    for (int k = 0; k < kLanes; ++k) total += sum[t][k];
    for (int rest = c; rest < channels; ++rest) total += to_float(left[rest]) * to_float(right[t][rest]);
    out[t] = total;
  }
}

// The loops over channels of one instruction set.
//   sum:  out = sum over the taps of weight * source
//   add:  the same, added to out
//   max:  the maximum over cells, and which it is
//   dots: the products of one vector with four others
template <typename T>
struct Loops {
  void (*sum)(const T* const*, const float*, int, int, T*);
  void (*add)(const T* const*, const float*, int, int, float*);
  void (*max)(const T*, const int*, int, int64_t, int, float*, int*);
  void (*dots)(const T*, const T* const*, int, float*);
};

#define MRCNN_LOOPS(NAME, LANES, TARGET)                                                                         \
  template <typename T>                                                                                          \
  TARGET void sum_##NAME(const T* const* source, const float* weight, int taps, int channels, T* out) {          \
    sum_body<LANES, false>(source, weight, taps, channels, out);                                                 \
  }                                                                                                              \
  template <typename T>                                                                                          \
  TARGET void add_##NAME(const T* const* source, const float* weight, int taps, int channels, float* out) {      \
    sum_body<LANES, true>(source, weight, taps, channels, out);                                                  \
  }                                                                                                              \
  template <typename T>                                                                                          \
  TARGET void max_##NAME(const T* source, const int* cell, int cells, int64_t stride, int channels, float* best, \
                         int* argmax) {                                                                          \
    max_body<T>(source, cell, cells, stride, channels, best, argmax);                                            \
  }                                                                                                              \
  template <typename T>                                                                                          \
  TARGET void dots_##NAME(const T* left, const T* const* right, int channels, float* out) {                      \
    dots_body<LANES, 4>(left, right, channels, out);                                                             \
  }

MRCNN_LOOPS(base, 4, )
#if defined(__x86_64__)
MRCNN_LOOPS(avx2, 8, MRCNN_AVX2)
MRCNN_LOOPS(avx512, 16, MRCNN_AVX512)
#endif
#undef MRCNN_LOOPS

template <typename T>
Loops<T> loops() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("fma")) {
    return {sum_avx512<T>, add_avx512<T>, max_avx512<T>, dots_avx512<T>};
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return {sum_avx2<T>, add_avx2<T>, max_avx2<T>, dots_avx2<T>};
  }
#endif
  return {sum_base<T>, add_base<T>, max_base<T>, dots_base<T>};
}

inline void set_zero(float* out, int64_t count, const ParallelFor& parallel_for) {
  parallel_for((count + 4095) / 4096, 1024, [&](int64_t begin, int64_t end) {
    std::fill(out + begin * 4096, out + std::min(end * 4096, count), 0.0f);
  });
}

// Channels per task of a gradient: a task owns these channels of one image's maps, so that nobody else adds to them.
// Multiples of a cache line, few enough that every thread has work.
inline int owned_channels(int batch, int channels, int num_threads) {
  int owned = 128;
  while (owned > kCacheLine && static_cast<int64_t>(batch) * ((channels + owned - 1) / owned) < 2 * num_threads) {
    owned /= 2;
  }
  return owned;
}

}  // namespace
}  // namespace cpu
}  // namespace mrcnn

#endif  // MRCNN_COMMON_LOOPS_H_
