// What is called from Python, on one kind of processor: the flags of the compiler say which.
#include <new>

#include "convolution.hpp"
#include "nearest.hpp"
#include "sparse.hpp"

namespace {

struct Forward {
  // So few channels are taken one by one.
  static constexpr int by_one(Interpolation kind) { return channels_of(1, kind); }
  template <int L, Interpolation Kind>
  static void run(const Problem& p) {
    if constexpr (Kind == kNearest)
      sample_nearest(p);
    else if (is_sparse(p) && !lies_by_pixel(p))
      sample_sparse<Kind>(p);
    else
      sample<L, Kind>(p);
  }
};
struct Backward {
  static constexpr int by_one(Interpolation) { return 1; }
  template <int L, Interpolation Kind>
  static void run(const Problem& p) {
    differentiate<L, Kind>(p);
  }
};

template <class Do, Interpolation Kind>
void by_channels(const Problem& p) {
  if (p.channels <= Do::by_one(Kind))
    Do::template run<1, Kind>(p);
  else if (p.channels <= 4)
    Do::template run<4, Kind>(p);
  else
    Do::template run<kLanes, Kind>(p);
}
// 0, or 1 where there is no memory.
template <class Do>
int by_kernel(const Problem& p) try {
  if (p.interpolation == kBilinear) by_channels<Do, kBilinear>(p);
  if (p.interpolation == kNearest) by_channels<Do, kNearest>(p);
  if (p.interpolation == kBicubic) by_channels<Do, kBicubic>(p);
  if (p.interpolation == kArea) by_channels<Do, kArea>(p);
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}

}  // namespace

#define STN_EXPORT extern "C" __attribute__((visibility("default")))

STN_EXPORT int stn_warp(const Problem* p) { return by_kernel<Forward>(*p); }
STN_EXPORT int stn_warp_backward(const Problem* p) { return by_kernel<Backward>(*p); }
STN_EXPORT int stn_convolution_input_gradient(const Convolution* p) try {
  in_parallel(int(p->threads), p->batch, [&](int64_t n) { input_gradient(*p, n); });
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}
