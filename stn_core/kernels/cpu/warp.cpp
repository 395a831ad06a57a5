// What is called from Python, on one kind of processor: the flags of the compiler say which.
#include <new>

#include "convolution.hpp"
#include "gradient.hpp"
#include "nearest.hpp"

namespace {

struct Forward {
  static constexpr int kByOne = kPlanes;  // so few channels are taken one by one
  template <int L, bool Nearest>
  static void run(const Problem& p) {
    Nearest ? sample_nearest(p) : sample<L>(p);
  }
};
struct Backward {
  static constexpr int kByOne = 1;
  template <int L, bool Nearest>
  static void run(const Problem& p) {
    differentiate<L, Nearest>(p);
  }
};

template <class Do, int L>
void by_kernel(const Problem& p) {
  p.nearest ? Do::template run<L, true>(p) : Do::template run<L, false>(p);
}
// 0, or 1 where there is no memory.
template <class Do>
int by_channels(const Problem& p) try {
  if (p.channels <= Do::kByOne)
    by_kernel<Do, 1>(p);
  else if (p.channels <= 4)
    by_kernel<Do, 4>(p);
  else
    by_kernel<Do, kLanes>(p);
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}

}  // namespace

#define STN_EXPORT extern "C" __attribute__((visibility("default")))

STN_EXPORT int stn_warp(const Problem* p) { return by_channels<Forward>(*p); }
STN_EXPORT int stn_warp_backward(const Problem* p) { return by_channels<Backward>(*p); }
STN_EXPORT int stn_convolution_input_gradient(const Convolution* p) try {
  in_parallel(int(p->threads), p->batch, [&](int64_t n) { input_gradient(*p, n); });
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}
