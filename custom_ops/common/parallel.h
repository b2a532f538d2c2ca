// How the kernels of the CPU are given threads.
#ifndef MRCNN_COMMON_PARALLEL_H_
#define MRCNN_COMMON_PARALLEL_H_

#include <stdint.h>

#include <functional>

namespace mrcnn {
namespace cpu {

// Runs body(begin, end) on parts of [0, total) that cover it, at once or one after another. `cost`: about how many
// cycles one unit takes.
using Body = std::function<void(int64_t begin, int64_t end)>;
using ParallelFor = std::function<void(int64_t total, int64_t cost, const Body& body)>;

}  // namespace cpu
}  // namespace mrcnn

#endif  // MRCNN_COMMON_PARALLEL_H_
