// Few points in a large image: each has its own few pixels packed, where else a window is.
#pragma once
#include "gradient.hpp"

namespace {

// Pixels of the image for each of the output's from which on that is quicker.
constexpr int64_t kSparse = 16;
inline bool is_sparse(const Problem& p) {
  return kSparse * p.pixels() * p.max_shrink * p.max_shrink < p.in_height * p.in_width;
}

// The pixels of a chunk's points: by two, or for `Bicubic` by four, of one channel.
struct Patches {
  static constexpr int kRoom = kTaps * kTaps * Chunk::kRoom;
  const Problem& p;
  Window all;
  int64_t side;
  View view;
  alignas(64) float pixels[kRoom];
  int64_t x[Chunk::kRoom], y[Chunk::kRoom];  // the first pixel of each

  explicit Patches(const Problem& p)
      : p(p), all(whole(p)), side(2 + 2 * all.reach), view{pixels, ptrdiff_t(side)} {}

  template <bool Nearest>
  void find(const Source& source, Chunk& k, int64_t first, int64_t end) {
    start(source, k, first, end);
    locate<Nearest>(p, all, all.width(), k);
    int count = (k.count + kLanes - 1) / kLanes * kLanes;
    for (int i = 0; i < count; i++) {
      x[i] = k.cell[i] % all.width() + all.first_x(), y[i] = k.cell[i] / all.width() + all.first_y();
      k.cell[i] = int32_t(i * side * side);
    }
  }

  // `each(at, pixel)` for the pixels of an image, as they lie, and where they are packed.
  template <class Each>
  void over_pixels(int count, ptrdiff_t row, ptrdiff_t column, Each each) {
    float* packed = pixels;
    for (int i = 0; i < count; i++)
      for (int64_t r = 0; r < side; r++) {
        int64_t v = home(p, y[i] + r, p.in_height);
        for (int64_t t = 0; t < side; t++, packed++) {
          int64_t u = v < 0 ? v : home(p, x[i] + t, p.in_width);
          if (u >= 0) each(v * row + u * column, *packed);
        }
      }
  }
  // With what is outside also for the lanes of a vector that are no point.
  void load(const Chunk& k, int64_t n, int64_t c) {
    put(k, p.outside(c));
    image_run(p, 1, n, c, 0, 0).visit([&](auto run) {
      over_pixels(k.count, p.image_row_step, p.image_column_step,
                  [&](ptrdiff_t at, float& pixel) { pixel = load_float(run.start + at); });
    });
  }
  void put(const Chunk& k, float value) {
    std::fill(pixels, pixels + (k.count + kLanes) * side * side, value);
  }
  void add_to_gradient(const Chunk& k, int64_t n, int64_t c) {
    float* to = gradient_run(p, 1, n, c, 0, 0).run<float>().start;
    over_pixels(k.count, p.gradient_pixel_step * p.in_width, p.gradient_pixel_step,
                [&](ptrdiff_t at, float pixel) { to[at] += pixel; });
  }
};

template <Interpolation Kind>
void sample_sparse(const Problem& p) {
  in_parts(p, p.channels, [&](const Source& source, int64_t n, int64_t, int64_t, int64_t first,
                              int64_t end) {
    Chunk k;
    Weights weights;
    Patches patches(p);
    alignas(64) float out[Chunk::kRoom], mean[Chunk::kRoom];
    for (int64_t i = first; i < end; i += kChunk) {
      int count = int(std::min<int64_t>(kChunk, end - i));
      if (source.is_lost) std::fill(mean, mean + count, NAN);
      for (int64_t c = 0; c < p.channels; c++) {
        if (!source.is_lost)
          over_readings<Kind>(source, [&](const Source& reading, int r) {
            if (c == 0 || Kind == kArea) patches.find<false>(reading, k, i, end);
            patches.load(k, n, c);
            if constexpr (Kind == kBicubic) {
              if (c == 0) weights.find(k);
              read<1>(patches.pixels, patches.side, k, weights, out);
            } else {
              read<1>(patches.view, patches.pixels, k, out);
            }
            lose<1>(k, out);
            add_to_mean(out, count, r, mean);
          });
        unpack<1>(mean, count, output_run(p, 1, n, c, i));
      }
    }
  });
}

// The gradient by an image of floats, to which each point's are added as they come.
template <Interpolation Kind>
void differentiate_sparse(const Problem& p, const Source& source, int64_t n, int64_t, double* total) {
  constexpr bool kNear = Kind == kNearest;
  Chunk k;
  Weights weights;
  Patches patches(p);
  alignas(64) float g[Chunk::kRoom];
  if (p.image_gradient) clear(gradient_run(p, int(p.channels), n, 0, 0, 0), p.in_height * p.in_width);
  if (source.is_lost) return;
  for (int64_t i = 0; i < p.pixels(); i += kChunk) {
    for (int64_t c = 0; c < p.channels; c++)
      over_readings<Kind>(source, [&](const Source& reading, int r) {
        if (c == 0 || Kind == kArea) patches.find<kNear>(reading, k, i, p.pixels());
        if constexpr (Kind == kBicubic)
          if (c == 0) weights.find(k);
        if (r == 0) pack_output<1>(p, n, c, k, g);
        for (int j = 0; k.any_lost && j < k.count; j++)
          if (k.is_lost[j]) g[j] = 0;
        if (p.map_gradient_ && !kNear) {
          patches.load(k, n, c);
          if constexpr (Kind == kBicubic)
            slopes<1>(patches.pixels, patches.side, g, k, weights);
          else
            slopes_of_one(patches.view, patches.pixels, g, k, true);
          settle(p, k);
          reading.add(k, sums_of(total, r), c == 0 && r == 0);
        }
        if (!p.image_gradient) return;
        patches.put(k, 0);
        if constexpr (Kind == kBicubic)
          scatter<1>(patches.pixels, patches.side, g, k, weights, 1, 0);
        else
          scatter_few<kNear>(patches.pixels, patches.side, g, k);
        patches.add_to_gradient(k, n, c);
      });
  }
}

template <int L, Interpolation Kind>
void differentiate(const Problem& p) {
  bool is_last = lies_by_pixel(p);
  bool is_few = !is_last && is_sparse(p) && (p.type == kFloat || !p.image_gradient);
  int64_t step = is_last ? kTogether : is_few ? p.channels : L, groups = (p.channels + step - 1) / step;
  auto part = is_last ? differentiate_pixels<Kind == kNearest> : differentiate_part<L, Kind>;
  if (is_few) part = differentiate_sparse<Kind>;
  if (p.kind >= kDense) {
    // A point's gradient is a sum over the channels, in their order.
    bool is_by_map = p.map_gradient_ && Kind != kNearest;
    in_images(p, false, is_by_map, [&](const Source& source, int64_t n, int64_t, int64_t) {
      for (int64_t c = 0; c < p.channels; c += step) part(p, source, n, c, nullptr);
    });
    return;
  }
  int64_t sums = Area::sums(p);
  std::vector<double> totals(p.batch * groups * sums);
  in_parallel(int(p.threads), p.batch * groups, [&](int64_t i) {
    auto source = source_of(p, i / groups);
    part(p, *source, i / groups, i % groups * step, totals.data() + i * sums);
  });
  if (!p.map_gradient_) return;
  for (int64_t n = 0; n < p.batch; n++) {
    std::vector<double> total(sums);
    for (int64_t i = 0; i < groups * sums; i++) total[i % sums] += totals[n * groups * sums + i];
    source_of(p, n)->finish(total.data(), n);
  }
}

}  // namespace
