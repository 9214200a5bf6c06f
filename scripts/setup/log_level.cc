// TensorFlow applies TF_CPP_MIN_LOG_LEVEL only after its libraries have begun to start, and an early step logs two
// lines on processors with AVX512_VNNI. This library, which the addon names last, starts before them and applies it then:
// abseil keeps the level in a constant-initialized variable. With another abseil, the weak name is absent.
#include <cstdlib>

namespace absl {
inline namespace lts_20250814 { // TensorFlow 2.21's
enum class LogSeverityAtLeast : int {};
__attribute__((weak)) void SetMinLogLevel(LogSeverityAtLeast);
}
}

__attribute__((constructor)) static void applyLogLevel() {
  const char* level = std::getenv("TF_CPP_MIN_LOG_LEVEL");
  if (level != nullptr && absl::SetMinLogLevel != nullptr) absl::SetMinLogLevel(static_cast<absl::LogSeverityAtLeast>(std::atoi(level)));
}
