// The threads on which the operations of this project compute.
#pragma once

#include <cstdint>
#include <functional>

namespace alignbook {

// What TF_NUM_INTRAOP_THREADS asks for, as for TensorFlow; or else the cores on which this process may run, or those
// whose time its container may use, if they are fewer.
int64_t threadCount();

// Calls body(0), body(1), and so on, up to body(shares - 1), this thread and others sharing the calls, and returns when
// all have returned. It must not throw. The others wait awake for a moment before they sleep: the operations of a step
// of generation follow each other so closely, and are so short, that waking a thread would take as long as one of them.
void inParallel(int64_t shares, const std::function<void(int64_t)>& body);

}  // namespace alignbook
