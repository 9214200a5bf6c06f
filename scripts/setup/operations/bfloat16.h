// Numbers in bfloat16, the upper half of a float32.
#pragma once

#include <cstdint>
#include <cstring>

namespace alignbook {

struct Bfloat16 {
  uint16_t bits;
};

inline float widened(float x) { return x; }

inline float widened(Bfloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace alignbook
