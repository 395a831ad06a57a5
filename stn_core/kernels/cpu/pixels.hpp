// Images of floats whose channels lie together, pixel by pixel: each corner is read, or added to, as it
// lies, a vector of channels at a time.
#pragma once
#include "fields.hpp"
#include "window.hpp"

namespace {

// Channels of a task: few enough that what it adds to stays in the cache, and the same for any number
// of threads.
constexpr int64_t kTogether = 256;

// The power of two that is at least a row of cells.
inline int row_bits(const Problem& p) {
  int bits = 3;
  while ((int64_t(1) << bits) < whole(p).width()) bits++;
  return bits;
}

inline bool lies_by_pixel(const Problem& p) {
  bool is_read = p.interpolation == kBilinear || p.interpolation == kNearest;
  bool is_here = is_read && p.type == kFloat && p.channels >= kLanes &&
                 p.image_channel_step == 1 && p.output_channel_step == 1 &&
                 (!p.image_gradient || p.gradient_channel_step == 1);
  return is_here && whole(p).height() << row_bits(p) < INT32_MAX;
}

template <class V, class C>
STN_INLINE V interpolate(const C& c, V fx, V fy) {
  V north = c.nw + fx * (c.ne - c.nw), south = c.sw + fx * (c.se - c.sw);
  return north + fy * (south - north);
}

// What that changes by when the point moves, times its gradient.
template <class V, class C>
STN_INLINE void find_slopes(const C& c, V fx, V fy, V by, V& dx, V& dy) {
  V across = c.ne - c.nw, twist = (c.se - c.sw) - across;
  dx = by * (across + fy * twist), dy = by * ((c.sw - c.nw) + fx * twist);
}
// What of the point's gradient goes to each of the four.
template <class V>
struct Shares {
  V nw, ne, sw, se;
  STN_INLINE Shares(V by, V fx, V fy) {
    V down = by * fy, up = by - down;
    ne = up * fx, nw = up - ne, se = down * fx, sw = down - se;
  }
};

// The gradient by the coordinates of what lies outside, or was clamped, is zero.
inline void settle(const Problem& p, Chunk& k) {
  for (int i = k.count; i % 16; i++) k.dx[i] = k.dy[i] = 0;
  if (p.padding != kZeros) {
    // Not 0 times what may be NaN.
    for (int i = 0; i < k.count; i++) k.dx[i] = k.moves_x[i] == 0 ? 0 : k.dx[i] * k.moves_x[i];
    for (int i = 0; i < k.count; i++) k.dy[i] = k.moves_y[i] == 0 ? 0 : k.dy[i] * k.moves_y[i];
  }
  if (k.any_lost)
    for (int i = 0; i < k.count; i++)
      if (k.is_lost[i]) k.dx[i] = k.dy[i] = 0;
}

// The four pixels round a point, the same for an image and for its gradient; `outside` for those that
// it has not.
template <class T>
struct Round {
  T *nw, *ne, *sw, *se;
  STN_INLINE Round(const Problem& p, T* start, ptrdiff_t row, ptrdiff_t column, T* outside, int bits,
                   int32_t cell) {
    Window all = whole(p);
    int64_t x = (cell & ((1 << bits) - 1)) + all.left, y = (cell >> bits) + all.top;
    T* at = start + y * row + x * column;
    bool west = x >= 0 && x < p.in_width, east = x >= -1 && x + 1 < p.in_width;
    bool north = y >= 0 && y < p.in_height, south = y >= -1 && y + 1 < p.in_height;
    nw = north && west ? at : outside, ne = north && east ? at + column : outside;
    sw = south && west ? at + row : outside, se = south && east ? at + row + column : outside;
  }
};

template <class V>
struct Values {
  V nw, ne, sw, se;
  STN_INLINE Values(const Round<const float>& at, int64_t c)
      : nw(load<V>(at.nw + c)), ne(load<V>(at.ne + c)), sw(load<V>(at.sw + c)), se(load<V>(at.se + c)) {}
};

// `each` on vectors of channels, then on single ones; it is told by a value of which type.
template <class Each>
STN_INLINE void over_channels(int64_t count, Each each) {
  int64_t c = 0;
  for (; c + kLanes <= count; c += kLanes) each(F{}, c);
  for (; c < count; c++) each(0.0f, c);
}
STN_INLINE void spread(float x, F& to) { to = splat<kLanes>(x); }
STN_INLINE void spread(float x, float& to) { to = x; }

// What is read outside; or a place to write it to.
inline float* outside_of(const Problem& p, int64_t c, int64_t channels) {
  static thread_local Scratch scratch;
  float* start = scratch.floats(channels);
  if (p.fill)
    for (int64_t i = 0; i < channels; i++) start[i] = p.outside(c + i);
  else
    std::memset(start, 0, channels * sizeof(float));
  return start;
}

struct Pixels {
  const Problem& p;
  int bits;
  int64_t channels;
  float* outside;
  const float* image;
  float *output, *gradient;

  Pixels(const Problem& p, int64_t n, int64_t c)
      : p(p),
        bits(row_bits(p)),
        channels(std::min(kTogether, p.channels - c)),
        outside(outside_of(p, c, channels)),
        image(reinterpret_cast<const float*>(p.image) + n * p.image_batch_step + c),
        output(reinterpret_cast<float*>(p.output) + n * p.output_batch_step + c),
        gradient(reinterpret_cast<float*>(p.image_gradient)) {
    if (gradient) gradient += n * p.gradient_batch_step + c;
  }
  STN_INLINE Round<const float> read(int32_t cell) const {
    return {p, image, p.image_row_step, p.image_column_step, outside, bits, cell};
  }
  STN_INLINE Round<float> write(int32_t cell) const {
    ptrdiff_t column = p.gradient_pixel_step;
    return {p, gradient, column * p.in_width, column, outside, bits, cell};
  }
  STN_INLINE float* out(int64_t pixel) const { return output + pixel * p.output_pixel_step; }
  template <bool Nearest>
  void next(const Source& source, Chunk& k, int64_t first, int64_t end) const {
    start(source, k, first, end);
    locate<Nearest>(p, whole(p), ptrdiff_t(1) << bits, k);
  }
};

inline void sample_pixels(const Problem& p, const Source& source, Chunk& k, int64_t n, int64_t c,
                          int64_t first, int64_t end) {
  Pixels pixels(p, n, c);
  for (int64_t i = first; i < end; i += kChunk) {
    if (!source.is_lost) pixels.next<false>(source, k, i, end);
    int64_t count = std::min<int64_t>(kChunk, end - i);
    for (int64_t j = 0; j < count; j++) {
      float* out = pixels.out(i + j);
      if (source.is_lost || (k.any_lost && k.is_lost[j])) {
        std::fill(out, out + pixels.channels, NAN);
        continue;
      }
      auto at = pixels.read(k.cell[j]);
      over_channels(pixels.channels, [&](auto kind, int64_t c) {
        using V = decltype(kind);
        V fx, fy;
        spread(k.fx[j], fx), spread(k.fy[j], fy);
        store(out + c, interpolate(Values<V>(at, c), fx, fy));
      });
    }
  }
}

// k.dx and k.dy, summed over the channels.
inline void slopes(const Pixels& pixels, Chunk& k) {
  for (int i = 0; i < k.count; i += kLanes) {
    F dx[kLanes] = {}, dy[kLanes] = {};
    for (int j = 0; j < std::min(kLanes, k.count - i); j++) {
      auto at = pixels.read(k.cell[i + j]);
      const float* g = pixels.out(k.first + i + j);
      F sum_x{}, sum_y{};
      over_channels(pixels.channels, [&](auto kind, int64_t c) {
        using V = decltype(kind);
        V fx, fy, slope_x, slope_y;
        spread(k.fx[i + j], fx), spread(k.fy[i + j], fy);
        find_slopes(Values<V>(at, c), fx, fy, load<V>(g + c), slope_x, slope_y);
        if constexpr (std::is_same_v<V, F>)
          sum_x += slope_x, sum_y += slope_y;
        else
          sum_x[0] += slope_x, sum_y[0] += slope_y;
      });
      dx[j] = sum_x, dy[j] = sum_y;
    }
    store(k.dx + i, sums<kLanes>(dx));
    store(k.dy + i, sums<kLanes>(dy));
  }
  settle(pixels.p, k);
}

template <bool Nearest>
void scatter(const Pixels& pixels, const Chunk& k) {
  for (int j = 0; j < k.count; j++) {
    if (k.any_lost && k.is_lost[j]) continue;
    auto at = pixels.write(k.cell[j]);
    const float* g = pixels.out(k.first + j);
    over_channels(pixels.channels, [&](auto kind, int64_t c) {
      using V = decltype(kind);
      V by = load<V>(g + c);
      if constexpr (Nearest) {
        add_to(at.nw + c, by);
      } else {
        V fx, fy;
        spread(k.fx[j], fx), spread(k.fy[j], fy);
        Shares<V> share(by, fx, fy);
        add_to(at.nw + c, share.nw);
        add_to(at.ne + c, share.ne);
        add_to(at.sw + c, share.sw);
        add_to(at.se + c, share.se);
      }
    });
  }
}

template <bool Nearest>
void differentiate_pixels(const Problem& p, const Source& source, int64_t n, int64_t c, double* total) {
  Chunk k;
  Pixels pixels(p, n, c);
  if (pixels.gradient) {
    int64_t size = p.in_height * p.in_width, step = p.gradient_pixel_step;
    bool is_whole = pixels.channels == p.channels;
    // Of a single pixel the step says nothing.
    int64_t last = (size - 1) * step + pixels.channels;
    for (int64_t i = 0; i < (is_whole ? 1 : size); i++)
      std::memset(pixels.gradient + i * step, 0, (is_whole ? last : pixels.channels) * sizeof(float));
  }
  if (source.is_lost) return;
  bool is_by_map = p.map_gradient_ && !Nearest;
  for (int64_t i = 0; i < p.pixels(); i += kChunk) {
    pixels.next<Nearest>(source, k, i, p.pixels());
    if (is_by_map) {
      // As it was before it was added to.
      outside_of(p, c, pixels.channels);
      slopes(pixels, k);
    }
    if (pixels.gradient) scatter<Nearest>(pixels, k);
    if (is_by_map) source.add(k, total, c == 0);
  }
}

}  // namespace
