// Few points in a large window: each is read from the image as it lies, and no window is packed.
#pragma once
#include "gradient.hpp"

namespace {

// Whether there are so many pixels of the window for each point that this is quicker. The same for all parts
// of an image, for which of the two it is may change the last bit.
inline bool is_sparse(const Problem& p, const Source& source, Chunk& k) {
  int64_t least = (p.interpolation == kBicubic ? 24 : 6) * p.pixels() * p.max_shrink * p.max_shrink;
  if (source.is_lost || least >= p.in_height * p.in_width) return false;
  // Fields know the points of their part only.
  return p.kind == kFields || least < window_of(p, source, k, 0, p.pixels()).cells();
}

// Which pixel of an axis each is, or stands for, or -1: see `home`.
template <Interpolation Kind>
STN_INLINE I homes(const Problem& p, I i, int64_t size) {
  I last = splat<kLanes>(int32_t(size - 1));
  if (Kind != kBicubic || p.padding == kZeros) return (i >= 0) & (i <= last) ? i : splat<kLanes>(-1);
  if (p.padding == kBorder) return at_most(at_least(i, I{}), last);
  for (int j = 0; j < kLanes; j++) i[j] = int32_t(home(p, i[j], size));
  return i;
}

// Floats so many steps from the first, or what stands for those of negative steps.
template <class T>
STN_INLINE F gather(const T* from, I steps, F rest) {
  I is_there = steps >= 0;
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) {
    __mmask16 mask = _mm512_movepi32_mask((__m512i)is_there);
    return _mm512_mask_i32gather_ps(rest, mask, (__m512i)steps, from, 4);
  }
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4)
    return _mm256_mask_i32gather_ps(rest, from, (__m256i)steps, (__m256)is_there, 4);
#endif
  for (int j = 0; j < kLanes; j++)
    if (is_there[j]) rest[j] = load_float(from + steps[j]);
  return rest;
}

// A chunk's points, and the few pixels that each is read from.
template <Interpolation Kind>
struct Points {
  static constexpr int kSide = Kind == kBicubic ? kTaps : 2, kAll = Kind == kNearest ? 1 : kSide * kSide;
  const Problem& p;
  Chunk& k;
  // Of each pixel the steps from the image's first one, and which pixel it is; -1 outside.
  alignas(64) int32_t steps[kAll][Chunk::kRoom], places[kAll][Chunk::kRoom];

  Points(const Problem& p, Chunk& k) : p(p), k(k) {}

  void find(const Source& source, int64_t first, int64_t end) {
    start(source, k, first, end);
    Sides sides(p);
    I row = splat<kLanes>(int32_t(p.image_row_step)), column = splat<kLanes>(int32_t(p.image_column_step));
    I width = splat<kLanes>(int32_t(p.in_width)), none = splat<kLanes>(-1);
    for (int i = 0; i < k.count; i += kLanes) {
      I x, y;
      find_cells<Kind == kNearest>(sides, k, i, x, y);
      if (Kind == kBicubic) x -= 1, y -= 1;
      for (int tap = 0; tap < kAll; tap++) {
        I u = homes<Kind>(p, x + tap % kSide, p.in_width), v = homes<Kind>(p, y + tap / kSide, p.in_height);
        I is_there = (u >= 0) & (v >= 0);
        store(steps[tap] + i, is_there ? v * row + u * column : none);
        store(places[tap] + i, is_there ? v * width + u : none);
      }
    }
  }

  // `each(i, pixels)` for vectors of points and all the pixels that they are read from, of a channel.
  template <class Each>
  void over_pixels(int64_t n, int64_t c, const Each& each) const {
    F outside = splat<kLanes>(p.outside(c));
    image_run(p, 1, n, c, 0, 0).visit([&](auto run) {
      for (int i = 0; i < k.count; i += kLanes) {
        F pixels[kAll];
        for (int tap = 0; tap < kAll; tap++) pixels[tap] = gather(run.start, load<I>(steps[tap] + i), outside);
        each(i, pixels);
      }
    });
  }

  static STN_INLINE F weighted(const F* pixels, const F (&x)[kTaps], const F (&y)[kTaps]) {
    F total{};
    for (int tap = 0; tap < kTaps; tap++) {
      const F* at = pixels + tap * kTaps;
      total += y[tap] * (x[0] * at[0] + x[1] * at[1] + (x[2] * at[2] + x[3] * at[3]));
    }
    return total;
  }
  struct Corners {
    F nw, ne, sw, se;
  };

  void read(int64_t n, int64_t c, float* out) const {
    over_pixels(n, c, [&](int i, const F* pixels) {
      F fx = load<F>(k.fx + i), fy = load<F>(k.fy + i), value;
      if constexpr (Kind == kBicubic) {
        F x[kTaps], y[kTaps], slope[kTaps];
        cubic(fx, x, slope), cubic(fy, y, slope);
        value = weighted(pixels, x, y);
      } else {
        value = interpolate(Corners{pixels[0], pixels[1], pixels[2], pixels[3]}, fx, fy);
      }
      store(out + i, value);
    });
  }

  // k.dx and k.dy, of the gradient g by the output.
  void find_slopes(int64_t n, int64_t c, const float* g) const {
    over_pixels(n, c, [&](int i, const F* pixels) {
      F fx = load<F>(k.fx + i), fy = load<F>(k.fy + i), by = load<F>(g + i), dx, dy;
      if constexpr (Kind == kBicubic) {
        F x[kTaps], y[kTaps], slope_x[kTaps], slope_y[kTaps];
        cubic(fx, x, slope_x), cubic(fy, y, slope_y);
        dx = by * weighted(pixels, slope_x, y), dy = by * weighted(pixels, x, slope_y);
      } else {
        ::find_slopes(Corners{pixels[0], pixels[1], pixels[2], pixels[3]}, fx, fy, by, dx, dy);
      }
      store(k.dx + i, dx);
      store(k.dy + i, dy);
    });
    settle(p, k);
  }

  void add_to_gradient(int64_t n, int64_t c, const float* g) const {
    float* to = gradient_run(p, 1, n, c, 0, 0).template run<float>().start;
    for (int i = 0; i < k.count; i += kLanes) {
      F by = load<F>(g + i), share[kAll];
      if constexpr (Kind == kNearest) {
        share[0] = by;
      } else if constexpr (Kind == kBicubic) {
        F x[kTaps], y[kTaps], slope[kTaps];
        cubic(load<F>(k.fx + i), x, slope), cubic(load<F>(k.fy + i), y, slope);
        for (int tap = 0; tap < kAll; tap++) share[tap] = y[tap / kTaps] * by * x[tap % kTaps];
      } else {
        Shares<F> of(by, load<F>(k.fx + i), load<F>(k.fy + i));
        share[0] = of.nw, share[1] = of.ne, share[2] = of.sw, share[3] = of.se;
      }
      for (int j = 0; j < std::min(kLanes, k.count - i); j++)
        for (int tap = 0; tap < kAll; tap++)
          if (int64_t place = places[tap][i + j]; place >= 0) to[place * p.gradient_pixel_step] += share[tap][j];
    }
  }
};

template <Interpolation Kind>
void sample_sparse(const Problem& p, const Source& source, Chunk& k, int64_t n, int64_t c, int64_t last,
                   int64_t first, int64_t end) {
  Points<Kind> points(p, k);
  alignas(64) float out[Chunk::kRoom], mean[Chunk::kRoom];
  for (int64_t i = first; i < end; i += kChunk)
    for (int64_t q = c; q < last; q++) {
      over_readings<Kind>(source, [&](const Source& reading, int r) {
        if (q == c || Kind == kArea) points.find(reading, i, end);
        points.read(n, q, out);
        lose<1>(k, out);
        add_to_mean(out, k.count, r, mean);
      });
      unpack<1>(mean, k.count, output_run(p, 1, n, q, i));
    }
}

// The gradient by an image of floats, to which each point's are added as they come.
template <Interpolation Kind>
void differentiate_sparse(const Problem& p, const Source& source, Chunk& k, int64_t n, int64_t c,
                          int64_t last, double* total) {
  Points<Kind> points(p, k);
  alignas(64) float g[Chunk::kRoom];
  if (p.image_gradient) clear(gradient_run(p, int(last - c), n, c, 0, 0), p.in_height * p.in_width);
  for (int64_t i = 0; i < p.pixels(); i += kChunk)
    for (int64_t q = c; q < last; q++)
      over_readings<Kind>(source, [&](const Source& reading, int r) {
        if (q == c || Kind == kArea) points.find(reading, i, p.pixels());
        if (r == 0) pack_output<1>(p, n, q, k, g);
        for (int j = 0; k.any_lost && j < k.count; j++)
          if (k.is_lost[j]) g[j] = 0;
        if constexpr (Kind != kNearest)
          if (p.map_gradient_) {
            points.find_slopes(n, q, g);
            reading.add(k, sums_of(total, r), q == 0 && r == 0);
          }
        if (p.image_gradient) points.add_to_gradient(n, q, g);
      });
}

}  // namespace
