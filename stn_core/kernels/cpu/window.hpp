// Where points lie in an image and round it, as it goes on outside, and the part of it that they are
// read from.
#pragma once
#include "area.hpp"

namespace {

// The part of an image, with some pixels round it where it reaches outside, that a task reads. Cell
// (i, j) has its corners at pixels i, i + 1 and j, j + 1, and is read from so many more on each side.
struct Window {
  int64_t left, top, right, bottom;  // cells, inclusive
  int64_t reach = 0;
  int64_t first_x() const { return left - reach; }
  int64_t first_y() const { return top - reach; }
  int64_t end_x() const { return right + 2 + reach; }
  int64_t end_y() const { return bottom + 2 + reach; }
  int64_t width() const { return end_x() - first_x(); }
  int64_t height() const { return end_y() - first_y(); }
  int64_t cells() const { return width() * height(); }
};

STN_INLINE F floor_of(F x) {
#if defined(__AVX512F__)
  return _mm512_floor_ps(x);
#elif defined(__AVX2__)
  return _mm256_floor_ps(x);
#else
  F cut = __builtin_convertvector(__builtin_convertvector(x, I), F);
  return cut > x ? cut - 1.0f : cut;
#endif
}
STN_INLINE F floor_of(F x, I& whole) {
  F found = floor_of(x);
  whole = __builtin_convertvector(found, I);
  return found;
}

// All cells that are read from. Beyond them nothing changes any more; with zeros not beyond -1, for the
// cell before pixel 0 has a slope.
inline Window whole(const Problem& p) {
  bool is_wide = p.interpolation == kBicubic;
  if (p.padding == kReflection)
    return {-is_wide, -is_wide, p.in_width - 1, p.in_height - 1, is_wide};
  bool is_border = p.padding == kBorder;
  int64_t first = is_border && !is_wide ? 0 : -2, beyond = is_wide - is_border;
  return {first, first, p.in_width + beyond, p.in_height + beyond, is_wide};
}

// One axis of an image, and how points come to where they are read.
struct Side {
  int64_t size, first, last;  // pixels; cells, inclusive
  bool is_mirrored, is_kept;  // is_kept: points outside are brought to its edge or into it
  float low, high;
  float mirror, period, times;  // of a mirrored image, and how often a period goes into a pixel

  Side(const Problem& p, int64_t size, int64_t first, int64_t last)
      : size(size),
        first(first),
        last(last),
        is_mirrored(p.padding == kReflection),
        is_kept(p.padding != kZeros),
        low(float(first)),
        high(float(last)),
        mirror(p.align_corners ? 0 : -0.5f),
        period(float(2 * (p.align_corners ? size - 1 : size))),
        times(period > 0 ? 1 / period : 0) {
    if (is_mirrored && p.interpolation == kBicubic) low += 0.5f, high += 0.5f;
  }

  // Where a point is read, and how that moves when the point does: by 1, by -1 or, if it is kept, not.
  STN_INLINE F bring(F x, F& moves) const {
    F one = splat<kLanes>(1.0f), least = splat<kLanes>(low), most = splat<kLanes>(high);
    moves = one;
    // What lies inside stays as it is, to the last bit.
    if (is_mirrored) {
      F beyond = x - mirror, far = splat<kLanes>(1e9f);
      beyond -= floor_of(at_most(at_least(beyond * times, -far), far)) * period;
      F back = period - beyond;
      auto is_inside = (x >= 0.0f) & (x <= float(size - 1));
      moves = (beyond < back) | is_inside ? one : -one;
      x = is_inside ? x : at_most(beyond, back) + mirror;
    }
    if (is_kept) moves = (x > least) & (x < most) ? moves : F{};
    return at_most(at_least(x, least), most);
  }
};

struct Sides {
  Side x, y;
  explicit Sides(const Problem& p, Window all) : x(p, p.in_width, all.left, all.right), y(p, p.in_height, all.top, all.bottom) {}
  explicit Sides(const Problem& p) : Sides(p, whole(p)) {}
};

// From the i-th coordinates on, where they are brought to: their cells and, unless `Nearest`, places in them.
template <bool Nearest>
STN_INLINE void find_cells(const Sides& sides, Chunk& k, int i, I& cell_x, I& cell_y) {
  F moves_x, moves_y;
  F x = sides.x.bring(load<F>(k.x + i), moves_x), y = sides.y.bring(load<F>(k.y + i), moves_y);
  if (Nearest) {
    floor_of(x + 0.5f, cell_x);
    floor_of(y + 0.5f, cell_y);
  } else {
    store(k.fx + i, x - floor_of(x, cell_x));
    store(k.fy + i, y - floor_of(y, cell_y));
    if (sides.x.is_kept) {
      store(k.moves_x + i, moves_x);
      store(k.moves_y + i, moves_y);
    }
  }
}

// To cells of the window, whose rows are so far apart.
template <bool Nearest>
inline void locate(const Problem& p, const Window& w, ptrdiff_t row, Chunk& k) {
  Sides sides(p);
  I left = splat<kLanes>(int32_t(w.left)), top = splat<kLanes>(int32_t(w.top));
  I width = splat<kLanes>(int32_t(row));
  // Of lanes that are no point.
  Words<kLanes> last = splat<kLanes>(uint32_t((w.bottom - w.top) * row + w.right - w.left));
  for (int i = 0; i < k.count; i += kLanes) {
    I cell_x, cell_y;
    find_cells<Nearest>(sides, k, i, cell_x, cell_y);
    I cell = (cell_y - top) * width + (cell_x - left);
    store(k.cell + i, at_most((Words<kLanes>)cell, last));
  }
}

// The cells that output pixels from `first` to `end` read: of a linear map by its corners, of any
// other by all its points.
inline Window window_of(const Problem& p, const Source& source, Chunk& k, int64_t first, int64_t end) {
  if (auto* area = dynamic_cast<const Area*>(&source)) {
    Window all{INT64_MAX, INT64_MAX, INT64_MIN, INT64_MIN};
    area->over_corners([&](const Source& corner) {
      Window w = window_of(p, corner, k, first, end);
      all = {std::min(all.left, w.left), std::min(all.top, w.top), std::max(all.right, w.right),
             std::max(all.bottom, w.bottom), w.reach};
    });
    return all;
  }
  double low_x = INFINITY, high_x = -INFINITY, low_y = INFINITY, high_y = -INFINITY;
  if (auto* linear = dynamic_cast<const Affine*>(&source)) {
    for (int64_t row : {first / p.width, (end - 1) / p.width})
      for (int64_t column : {int64_t(0), p.width - 1}) {
        double u = double(column) - linear->ax.out_middle, v = double(row) - linear->ay.out_middle;
        double x = linear->m[0][0] * u + linear->m[0][1] * v + linear->m[0][2];
        double y = linear->m[1][0] * u + linear->m[1][1] * v + linear->m[1][2];
        low_x = std::min(low_x, x), high_x = std::max(high_x, x);
        low_y = std::min(low_y, y), high_y = std::max(high_y, y);
      }
    double room_x = linear->rounding(0), room_y = linear->rounding(1);
    low_x -= room_x, high_x += room_x, low_y -= room_y, high_y += room_y;
  } else {
    F low[2] = {splat<kLanes>(INFINITY), splat<kLanes>(INFINITY)}, high[2] = {-low[0], -low[0]};
    for (int64_t i = first; i < end; i += kChunk) {
      start(source, k, i, end);
      for (int j = 0; j < k.count; j += kLanes) {
        F x = load<F>(k.x + j), y = load<F>(k.y + j);
        low[0] = x < low[0] ? x : low[0], high[0] = x > high[0] ? x : high[0];
        low[1] = y < low[1] ? y : low[1], high[1] = y > high[1] ? y : high[1];
      }
    }
    for (int i = 0; i < kLanes; i++) {
      low_x = std::min(low_x, double(low[0][i])), high_x = std::max(high_x, double(high[0][i]));
      low_y = std::min(low_y, double(low[1][i])), high_y = std::max(high_y, double(high[1][i]));
    }
    if (!(low_x <= high_x && low_y <= high_y)) low_x = high_x = low_y = high_y = 0;
  }
  // The nearest pixel may be half a pixel beyond.
  if (p.interpolation == kNearest) low_x -= 1, high_x += 1, low_y -= 1, high_y += 1;
  Window all = whole(p);
  Sides sides(p, all);
  auto span = [&](const Side& side, double low, double high) {
    // What lies in a mirror may come from anywhere.
    if (side.is_mirrored && (low < double(all.reach) || high > double(side.size - 1 - all.reach)))
      return std::pair(side.first, side.last);
    double first = double(side.first), last = double(side.last);
    return std::pair(int64_t(std::clamp(std::floor(low), first, last)),
                     int64_t(std::clamp(std::floor(high), first, last)));
  };
  auto [left, right] = span(sides.x, low_x, high_x);
  auto [top, bottom] = span(sides.y, low_y, high_y);
  return {left, top, right, bottom, all.reach};
}

}  // namespace
