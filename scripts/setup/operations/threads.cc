#include "threads.h"

#if defined(__linux__)
#include <sched.h>
#endif

#include <algorithm>
#include <atomic>
#include <cfenv>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <system_error>
#include <thread>

namespace alignbook {

namespace {

using Body = std::function<void(int64_t)>;
using Clock = std::chrono::steady_clock;

// How long a thread waits awake for more to do.
constexpr std::chrono::microseconds AWAKE(200);
constexpr int PAUSES = 64;  // between looks at the clock

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}

// Whoever is free takes the next share, so nobody waits for a thread that has not woken up.
class Pool {
 public:
  Pool() {
    try {
      for (int64_t n = 1; n < threadCount(); ++n) std::thread([this] { serve(); }).detach();
    } catch (const std::system_error&) {
      // No more threads for this process: those that there are take all shares.
    }
  }

  void run(int64_t shares, const Body& body) {
    const std::unique_lock<std::mutex> lock(busy_, std::try_to_lock);
    if (!lock.owns_lock()) {  // another thread of Node computes, too
      for (int64_t share = 0; share < shares; ++share) body(share);
      return;
    }
    body_ = &body;
    std::fegetenv(&environment_);
    left_.store(shares);
    state_.store(stateOf(generationOf(state_.load()) + 1, shares));
    if (asleep_.load() > 0) {
      const std::lock_guard<std::mutex> sleep(sleep_);
      for (int64_t n = std::min<int64_t>(shares - 1, asleep_.load()); n > 0; --n) wake_.notify_one();
    }
    takeShares([] {});
    for (int64_t n = 1; left_.load() > 0; ++n) n % 4096 == 0 ? std::this_thread::yield() : pause();
  }

 private:
  // What is still to be taken: the number of the call, so that a thread with an old view of it takes nothing, and that
  // of its shares. They are taken from the last to the first.
  static uint64_t stateOf(uint64_t generation, uint64_t shares) { return generation << 16 | shares; }
  static uint64_t generationOf(uint64_t state) { return state >> 16; }
  static uint64_t sharesOf(uint64_t state) { return state & 0xffff; }

  template <class Before>
  void takeShares(const Before& before) {
    uint64_t state = state_.load();
    while (sharesOf(state) > 0)
      if (state_.compare_exchange_weak(state, state - 1)) {
        before();
        (*body_)(static_cast<int64_t>(sharesOf(state)) - 1);
        left_.fetch_sub(1);
        state = state_.load();
      }
  }

  [[noreturn]] void serve() {
    for (;;) {
      waitForShares();
      takeShares([this] { std::fesetenv(&environment_); });
    }
  }

  void waitForShares() {
    const auto hasShares = [this] { return sharesOf(state_.load()) > 0; };
    for (const auto end = Clock::now() + AWAKE; Clock::now() < end;)
      for (int n = 0; n < PAUSES; ++n) {
        if (hasShares()) return;
        pause();
      }
    std::unique_lock<std::mutex> lock(sleep_);
    asleep_.fetch_add(1);
    wake_.wait(lock, hasShares);
    asleep_.fetch_sub(1);
  }

  std::mutex busy_;
  // Those of the state's call: they stay until all its shares are done.
  const Body* body_ = nullptr;
  std::fenv_t environment_;  // of the calling thread: TensorFlow has it take denormals for zeros
  std::atomic<uint64_t> state_{0};
  std::atomic<int64_t> left_{0};  // shares that are not done
  std::mutex sleep_;
  std::condition_variable wake_;
  std::atomic<int> asleep_{0};
};

constexpr int64_t MOST_THREADS = 1024;

// The cores on which this process may run.
int64_t coreCount() {
#if defined(__linux__)
  cpu_set_t cores;
  if (sched_getaffinity(0, sizeof cores, &cores) == 0) return CPU_COUNT(&cores);
#endif
  return std::thread::hardware_concurrency();
}

// How many cores' time a container may use, rounded up: threads that wait awake would use up what the others need.
int64_t coresByQuota() {
  double quota = 0, period = 0;  // microseconds
  if (std::ifstream file("/sys/fs/cgroup/cpu.max"); !(file >> quota >> period)) {
    std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") >> quota;
    std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_period_us") >> period;
  }
  return quota > 0 && period > 0 ? static_cast<int64_t>(std::ceil(quota / period)) : MOST_THREADS;
}

}  // namespace

int64_t threadCount() {
  static const int64_t count = [] {
    const char* asked = std::getenv("TF_NUM_INTRAOP_THREADS");
    if (asked != nullptr && std::atoll(asked) > 0) return std::min<int64_t>(std::atoll(asked), MOST_THREADS);
    return std::clamp<int64_t>(std::min(coreCount(), coresByQuota()), 1, MOST_THREADS);
  }();
  return count;
}

void inParallel(int64_t shares, const Body& body) {
  if (shares == 1) return body(0);
  static Pool* const pool = new Pool;  // never destroyed: its threads outlive everything
  pool->run(shares, body);
}

}  // namespace alignbook
