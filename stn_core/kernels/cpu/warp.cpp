// What is called from Python, on one kind of processor: the flags of the compiler say which.
#include <new>

#include "convolution.hpp"
#include "nearest.hpp"
#include "sparse.hpp"

namespace {

// Forward, in parts.
template <int L, Interpolation Kind>
void sample(const Problem& p) {
  bool is_last = lies_by_pixel(p);
  int64_t step = is_last ? kTogether : channels_of(L, Kind);
  in_parts(p, step, [&](const Source& source, int64_t n, int64_t c, int64_t last, int64_t first,
                        int64_t end) {
    Chunk k;
    if (is_last) {
      for (; c < last; c += step) sample_pixels(p, source, k, n, c, first, end);
    } else if (is_sparse(p, source, k)) {
      sample_sparse<Kind>(p, source, k, n, c, last, first, end);
    } else {
      Window w = source.is_lost ? Window{} : window_of(p, source, k, first, end);
      for (; c < last; c += step) sample_part<L, Kind>(p, source, w, k, n, c, first, end);
    }
  });
}

// Backward, image by image and, where the map's gradient is a sum, some channels at a time.
template <int L, Interpolation Kind>
void differentiate(const Problem& p) {
  bool is_last = lies_by_pixel(p), may_be_sparse = p.type == kFloat || !p.image_gradient;
  int64_t step = is_last ? kTogether : L, groups = (p.channels + step - 1) / step;
  auto part = [&](const Source& source, int64_t n, int64_t c, int64_t last, double* total) {
    Chunk k;
    if (!is_last && may_be_sparse && is_sparse(p, source, k))
      return differentiate_sparse<Kind>(p, source, k, n, c, last, total);
    for (; c < last; c += step)
      if (is_last)
        differentiate_pixels<Kind == kNearest>(p, source, n, c, total);
      else
        differentiate_part<L, Kind>(p, source, k, n, c, total);
  };
  if (p.kind >= kDense) {
    // A point's gradient is a sum over the channels, in their order.
    bool is_by_map = p.map_gradient_ && Kind != kNearest;
    in_images(p, false, is_by_map, [&](const Source& source, int64_t n, int64_t, int64_t) {
      part(source, n, 0, p.channels, nullptr);
    });
    return;
  }
  int64_t sums = Area::sums(p);
  std::vector<double> totals(p.batch * groups * sums);
  in_parallel(int(p.threads), p.batch * groups, [&](int64_t i) {
    int64_t n = i / groups, c = i % groups * step;
    part(*source_of(p, n), n, c, std::min(c + step, p.channels), totals.data() + i * sums);
  });
  if (!p.map_gradient_) return;
  for (int64_t n = 0; n < p.batch; n++) {
    std::vector<double> total(sums);
    for (int64_t i = 0; i < groups * sums; i++) total[i % sums] += totals[n * groups * sums + i];
    source_of(p, n)->finish(total.data(), n);
  }
}

struct Forward {
  // So few channels are taken one by one.
  static constexpr int by_one(Interpolation kind) { return channels_of(1, kind); }
  template <int L, Interpolation Kind>
  static void run(const Problem& p) {
    if constexpr (Kind == kNearest)
      sample_nearest(p);
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
  if (p.channels <= Do::by_one(Kind) && !p.is_by_pixel())
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
