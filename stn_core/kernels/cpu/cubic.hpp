// Cubic convolution (Keys, 1981, eq. 4, with a = -0.75): a point is read from four by four pixels, from
// the one before its cell on. Outside, the image goes on for some pixels of its own, so that none of
// them is asked where it lies.
#pragma once
#include "window.hpp"

namespace {

constexpr int kTaps = 4;

// The weights of four pixels for a point so far behind the second, and their slopes.
STN_INLINE void cubic(F t, F (&weight)[kTaps], F (&slope)[kTaps]) {
  constexpr float a = -0.75f;
  F s = 1.0f - t;
  auto near = [](F d) { return 1.0f - d * d * ((a + 3) - (a + 2) * d); };
  auto near_slope = [](F d) { return d * (3 * (a + 2) * d - 2 * (a + 3)); };
  weight[0] = a * t * s * s, weight[1] = near(t), weight[2] = near(s), weight[3] = a * s * t * t;
  slope[0] = a * s * (s - 2.0f * t), slope[1] = near_slope(t), slope[2] = -near_slope(s);
  slope[3] = a * t * (2.0f * s - t);
}

// The weights of the pixels that a chunk is read from, along each axis, and their slopes, four a point.
struct Weights {
  static constexpr int kRoom = kTaps * Chunk::kRoom;
  alignas(64) float x[kRoom], y[kRoom], slope_x[kRoom], slope_y[kRoom];

  void find(const Chunk& k) {
    find(k.fx, k.count, x, slope_x);
    find(k.fy, k.count, y, slope_y);
  }

 private:
  static void find(const float* place, int count, float* weights, float* slopes) {
    for (int i = 0; i < count; i += kLanes) {
      F weight[kTaps], slope[kTaps];
      cubic(shuffle<ByFours, kLanes>(load<F>(place + i), F{}), weight, slope);
      transpose_fours<kLanes>(weight);
      transpose_fours<kLanes>(slope);
      for (int j = 0; j < kTaps; j++) {
        store(weights + i * kTaps + j * kLanes, weight[j]);
        store(slopes + i * kTaps + j * kLanes, slope[j]);
      }
    }
  }
};

// What four numbers of each of `kLanes` points add up to.
STN_INLINE F sums_of_taps(const float* taps) {
  F part[kTaps];
  for (int j = 0; j < kTaps; j++) part[j] = load<F>(taps + j * kLanes);
  transpose_fours<kLanes>(part);
  return shuffle<Sorted, kLanes>((part[0] + part[1]) + (part[2] + part[3]), F{});
}

using Four = Floats<kTaps>;
// Of one channel four numbers that add up to its sum, else the sum of each of L channels.
template <int L>
using Sum = Floats<L == 1 ? kTaps : L>;

// The weighted sum of the pixels from `at` on, whose rows are `row` floats apart.
template <int L>
STN_INLINE Sum<L> weighted(const float* at, ptrdiff_t row, const float* x, const float* y) {
  if constexpr (L == kLanes) {
    F total{};
    for (int r = 0; r < kTaps; r++) {
      F across{};
      for (int t = 0; t < kTaps; t++) across += splat<L>(x[t]) * load<F>(at + r * row + t * L);
      total += splat<L>(y[r]) * across;
    }
    return total;
  } else if constexpr (L == 1) {
    Four down{};
    for (int r = 0; r < kTaps; r++) down += splat<kTaps>(y[r]) * load<Four>(at + r * row);
    return down * load<Four>(x);
  } else {
    constexpr int kParts = kTaps * L / kLanes;
    F down[kParts] = {};
    for (int r = 0; r < kTaps; r++)
      for (int i = 0; i < kParts; i++)
        down[i] += splat<kLanes>(y[r]) * load<F>(at + r * row + i * kLanes);
    Four tap[kTaps], total{};
    std::memcpy(tap, down, sizeof tap);
    for (int t = 0; t < kTaps; t++) total += splat<kTaps>(x[t]) * tap[t];
    return total;
  }
}

template <int L>
STN_INLINE void read(const float* packed, ptrdiff_t row, const Chunk& k, const Weights& w, float* out) {
  auto at_point = [&](int i) {
    int at = i * kTaps;
    return weighted<L>(packed + ptrdiff_t(k.cell[i]) * L, row * L, w.x + at, w.y + at);
  };
  if constexpr (L > 1) {
    for (int i = 0; i < k.count; i++) store(out + i * L, at_point(i));
  } else {
    alignas(64) float taps[kTaps * kLanes];
    for (int i = 0; i < k.count; i += kLanes) {
      for (int j = 0; j < kLanes; j++) store(taps + j * kTaps, at_point(i + j));
      store(out + i, sums_of_taps(taps));
    }
  }
}

// By the coordinates, summed over the channels: k.dx and k.dy, of the gradient g by the output.
template <int L>
STN_INLINE void slopes(const float* packed, ptrdiff_t row, const float* g, Chunk& k, const Weights& w) {
  auto at_point = [&](int i, Sum<L>& dx, Sum<L>& dy) {
    int at = i * kTaps;
    const float* from = packed + ptrdiff_t(k.cell[i]) * L;
    Sum<L> by;
    if constexpr (L == 1)
      by = splat<kTaps>(g[i]);
    else
      by = load<Sum<L>>(g + i * L);
    dx = by * weighted<L>(from, row * L, w.slope_x + at, w.y + at);
    dy = by * weighted<L>(from, row * L, w.x + at, w.slope_y + at);
  };
  for (int i = 0; i < k.count; i += kLanes) {
    if constexpr (L == kLanes) {
      F dx[L], dy[L];
      for (int j = 0; j < L; j++) at_point(i + j, dx[j], dy[j]);
      store(k.dx + i, sums<L>(dx));
      store(k.dy + i, sums<L>(dy));
    } else {
      alignas(64) float parts_x[kTaps * kLanes], parts_y[kTaps * kLanes];
      for (int j = 0; j < kLanes; j++) {
        Four dx, dy;
        at_point(i + j, dx, dy);
        store(parts_x + j * kTaps, dx);
        store(parts_y + j * kTaps, dy);
      }
      store(k.dx + i, sums_of_taps(parts_x));
      store(k.dy + i, sums_of_taps(parts_y));
    }
  }
}

// Of one channel the four pixels of a row go to one of `planes`, by where they begin, 1 or 4 of them: so
// two runs of four in one plane are the same or apart, and none waits for half of the one before.
template <int L>
STN_INLINE void scatter(float* packed, ptrdiff_t row, const float* g, const Chunk& k, const Weights& w,
                        int planes, size_t plane) {
  for (int i = 0; i < k.count; i++) {
    int at = i * kTaps;
    if constexpr (L == 1) {
      float* to = packed + k.cell[i] + (k.cell[i] & (planes - 1)) * plane;
      Four by = splat<kTaps>(g[i]) * load<Four>(w.x + at);
      for (int r = 0; r < kTaps; r++) add_to(to + r * row, splat<kTaps>(w.y[at + r]) * by);
    } else {
      float* to = packed + ptrdiff_t(k.cell[i]) * L;
      Floats<L> by = load<Floats<L>>(g + i * L);
      for (int r = 0; r < kTaps; r++) {
        Floats<L> down = splat<L>(w.y[at + r]) * by;
        for (int t = 0; t < kTaps; t++) add_to(to + (r * row + t) * L, splat<L>(w.x[at + t]) * down);
      }
    }
  }
}

inline void add_planes(float* packed, size_t plane) {
  for (size_t i = 0; i < plane; i++)
    packed[i] += packed[plane + i] + (packed[2 * plane + i] + packed[3 * plane + i]);
}

// ---- outside

// Which pixel of an axis stands at a place: outside, none, -1, or the one that the image goes on with.
inline int64_t home(const Problem& p, int64_t i, int64_t size) {
  if (i >= 0 && i < size) return i;
  if (p.interpolation != kBicubic || p.padding == kZeros) return -1;
  if (p.padding == kBorder) return i < 0 ? 0 : size - 1;
  int64_t turn = p.align_corners ? 0 : 1, period = std::max<int64_t>(2 * (size - 1 + turn), 1);
  int64_t beyond = (i % period + period) % period;
  return beyond < size ? beyond : period - turn - beyond;
}

// `each(x, home)` for the columns of a window that stand for others.
template <class Each>
void over_outer_columns(const Problem& p, const Window& w, const Each& each) {
  if (p.interpolation != kBicubic || p.padding == kZeros) return;
  for (int64_t x = w.first_x(); x < std::min<int64_t>(w.end_x(), 0); x++)
    each(x - w.first_x(), home(p, x, p.in_width) - w.first_x());
  for (int64_t x = std::max(w.first_x(), p.in_width); x < w.end_x(); x++)
    each(x - w.first_x(), home(p, x, p.in_width) - w.first_x());
}

// Gradients by what stands outside go to the pixels that it is.
template <int L>
void bring_home(const Problem& p, const Window& w, float* packed) {
  size_t row = w.width() * L;
  auto line = [&](int64_t y) { return packed + (y - w.first_y()) * row; };
  for (int64_t y = w.first_y(); y < w.end_y(); y++) {
    int64_t to = home(p, y, p.in_height);
    if (to < 0 || to == y) continue;
    for (size_t i = 0; i < row; i++) line(to)[i] += line(y)[i];
  }
  int64_t end = std::min(w.end_y(), p.in_height);
  for (int64_t y = std::max<int64_t>(w.first_y(), 0); y < end; y++)
    over_outer_columns(p, w, [&](int64_t x, int64_t to) {
      for (int i = 0; i < L; i++) line(y)[to * L + i] += line(y)[x * L + i];
    });
}

}  // namespace
