// float16 and bfloat16 as bits, to and from float32. Round to nearest, ties to even; subnormals, infinities and NaN
// kept. Needs neither Eigen nor CUDA's headers.
#ifndef MRCNN_COMMON_NUMBERS_H_
#define MRCNN_COMMON_NUMBERS_H_

#include <stdint.h>
#include <string.h>

#include "host_device.h"

namespace mrcnn {

struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

MRCNN_HD uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return bits;
}
MRCNN_HD float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

MRCNN_HD float to_float(float value) { return value; }
MRCNN_HD float to_float(BFloat16 value) { return float_of(static_cast<uint32_t>(value.bits) << 16); }
MRCNN_HD float to_float(Half value) {
#if defined(__CUDA_ARCH__)
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
  return result;
#else
  const uint32_t magnitude = value.bits & 0x7fffu, sign = static_cast<uint32_t>(value.bits & 0x8000u) << 16;
  uint32_t bits = (magnitude << 13) + (112u << 23);  // exponent bias 15 becomes 127
  if (magnitude >= 0x7c00u) bits += 112u << 23;      // infinity and NaN keep the largest exponent
  // A subnormal has no leading one: give it one and take it away as a number.
  if (magnitude < 0x0400u) bits = bits_of(float_of(bits + (1u << 23)) - 6.103515625e-05f);
  return float_of(bits | sign);
#endif
}

template <typename T>
MRCNN_HD T from_float(float value);

template <>
MRCNN_HD float from_float<float>(float value) {
  return value;
}
template <>
MRCNN_HD BFloat16 from_float<BFloat16>(float value) {
  const uint32_t bits = bits_of(value);
  const uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return BFloat16{static_cast<uint16_t>(is_nan ? 0x7fc0u : rounded >> 16)};
}
template <>
MRCNN_HD Half from_float<Half>(float value) {
#if defined(__CUDA_ARCH__)
  uint16_t result;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result) : "f"(value));
  return Half{result};
#else
  const uint32_t bits = bits_of(value), magnitude = bits & 0x7fffffffu, sign = (bits >> 16) & 0x8000u;
  uint32_t half;
  if (magnitude >= 0x47800000u) {  // 65536 and more
    half = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
  } else if (magnitude < 0x38800000u) {  // below 2^-14: adding 0.5 leaves the subnormal's digits in the last ten bits
    half = bits_of(float_of(magnitude) + 0.5f) - 0x3f000000u;
  } else {
    half = (magnitude - (112u << 23) + 0x0fffu + ((magnitude >> 13) & 1u)) >> 13;
  }
  return Half{static_cast<uint16_t>(half | sign)};
#endif
}

}  // namespace mrcnn

#endif  // MRCNN_COMMON_NUMBERS_H_
