// Forward: pack the window of a few channels, read it at the points, and unpack what was read.
#pragma once
#include "cubic.hpp"
#include "layout.hpp"
#include "parts.hpp"
#include "pixels.hpp"

namespace {

// Channels c to c + L of image n, from its pixel (x, y).
inline AnyRun image_run(const Problem& p, int L, int64_t n, int64_t c, int64_t y, int64_t x) {
  int64_t at = n * p.image_batch_step + c * p.image_channel_step + y * p.image_row_step +
               x * p.image_column_step;
  return {p.type, p.image, at, ptrdiff_t(p.image_channel_step),
          ptrdiff_t(p.image_column_step), int(std::min<int64_t>(L, p.channels - c))};
}

// The same channels of the output, or of its gradient, from a pixel that counts along the rows.
inline AnyRun output_run(const Problem& p, int L, int64_t n, int64_t c, int64_t pixel) {
  int64_t at = n * p.output_batch_step + c * p.output_channel_step + pixel * p.output_pixel_step;
  return {p.type, p.output, at, ptrdiff_t(p.output_channel_step),
          ptrdiff_t(p.output_pixel_step), int(std::min<int64_t>(L, p.channels - c))};
}

// A few channels are read each by itself where a gather is quick, though their pixels could be packed.
#if defined(__AVX512F__)
constexpr int kPlanes = 4;
#else
constexpr int kPlanes = 1;
#endif
// How many channels a vector of L, or its task, is for. Sixteen gathers a point would not be quick.
constexpr int channels_of(int L, Interpolation kind) {
  return L == 1 && (kind == kBilinear || kind == kArea) ? kPlanes : L;
}

// Narrow rows, with what is outside on both sides: so many vectors of each, the last ones first, for what they write
// behind a row is where the next one begins.
template <class T>
void pack_lines(const Problem& p, const T* line, int64_t count, const Window& w, float outside, float* packed) {
  int64_t width = w.width();
  F places = count_up<kLanes>();
  for (int64_t i = (width - 1) / kLanes * kLanes; i >= 0; i -= kLanes) {
    int64_t x = w.first_x() + i;
    int end = int(std::clamp<int64_t>(p.in_width - x, 0, kLanes));
    int first = int(std::clamp<int64_t>(-x, 0, end));
    auto is_inside = (places >= float(first)) & (places < float(end));
    for (int64_t j = 0; j < count; j++) {
      F there = load_between<kLanes>(line + j * p.image_row_step + x, first, end);
      store(packed + j * width + i, is_inside ? there : splat<kLanes>(outside));
    }
  }
}
constexpr int64_t kNarrow = 8 * kLanes;  // else rows are packed as quickly by themselves

template <int L>
void pack_window(const Problem& p, const Window& w, int64_t n, int64_t c, float* packed) {
  int64_t x0 = std::max<int64_t>(w.first_x(), 0), x1 = std::min(w.end_x(), p.in_width);
  int64_t y0 = std::max<int64_t>(w.first_y(), 0), y1 = std::min(w.end_y(), p.in_height);
  size_t row = w.width() * L;
  alignas(64) float outside[L];
  for (int i = 0; i < L; i++) outside[i] = c + i < p.channels ? p.outside(c + i) : 0;
  auto leave = [&](float* to, int64_t cells) {
    if (!p.fill) return void(std::memset(to, 0, cells * L * sizeof(float)));
    for (int64_t i = 0; i < cells; i++) std::memcpy(to + i * L, outside, sizeof outside);
  };
  if (x1 <= x0 || y1 <= y0) return leave(packed, w.cells());
  auto line = [&](int64_t y) { return packed + (y - w.first_y()) * row; };
  if (L == 1 && p.image_column_step == 1 && w.width() <= kNarrow) {
    image_run(p, L, n, c, y0, 0).visit([&](auto run) {
      pack_lines(p, run.start, y1 - y0, w, outside[0], line(y0));
    });
  } else {
    for (int64_t y = y0; y < y1; y++) {
      float* to = line(y);
      leave(to, x0 - w.first_x());
      pack<L>(image_run(p, L, n, c, y, x0), x1 - x0, to + (x0 - w.first_x()) * L);
      leave(to + (x1 - w.first_x()) * L, w.end_x() - x1);
    }
  }
  over_outer_columns(p, w, [&](int64_t x, int64_t from) {
    for (int64_t y = y0; y < y1; y++) std::memcpy(line(y) + x * L, line(y) + from * L, L * sizeof(float));
  });
  auto fill = [&](int64_t y) {
    int64_t from = home(p, y, p.in_height);
    if (from < 0)
      leave(line(y), w.width());
    else
      std::memcpy(line(y), line(from), row * sizeof(float));
  };
  for (int64_t y = w.first_y(); y < y0; y++) fill(y);
  for (int64_t y = y1; y < w.end_y(); y++) fill(y);
}

// Where outputs are wide and turned by little, a vector's points lie in one row, or in two, less than 32
// pixels apart: two loads from a row have all of them.
constexpr int kLevel = 30;
inline bool are_level(const Problem& p, const Source& source) {
  auto* area = dynamic_cast<const Area*>(&source);
  auto* linear = dynamic_cast<const Affine*>(area ? area->readings[0].get() : &source);
  if (!linear || kLanes < 16 || p.width < 4 * kLanes) return false;
  double across = linear->m[0][0] * (kLanes - 1), down = linear->m[1][0] * (kLanes - 1);
  return across > 0 && across < kLevel - 1 && std::fabs(down) < 1.5;
}

// Pixels of a window: packed, or where they lie.
struct View {
  const float* start;
  ptrdiff_t row;  // from row to row, in pixels
  ptrdiff_t plane = 0;
  bool is_level = false;  // see `find_level`
  int32_t last = 0;       // the cell from which on it may read at most

  void see(const Problem& p, const Window& w, const Source& source) {
    int64_t cells = (w.height() - 2) * row + w.width() - 1;
    last = int32_t(cells - 1 - kLevel);
    is_level = last >= 0 && are_level(p, source);
  }
  // `each` with whether it is, known when it is compiled.
  template <class Each>
  STN_INLINE void by_level(Each each) const {
    if (kLanes == 16 && is_level)
      each(std::true_type());
    else
      each(std::false_type());
  }
};

// So many channels, one after the other.
inline View pack_planes(const Problem& p, const Window& w, int64_t n, int64_t c, int planes,
                        Scratch& scratch) {
  float* packed = scratch.floats(w.cells() * planes + kLanes);
  for (int i = 0; i < planes; i++) pack_window<1>(p, w, n, c + i, packed + w.cells() * i);
  return {packed, ptrdiff_t(w.width()), ptrdiff_t(w.cells())};
}

template <int L>
View pack_together(const Problem& p, const Window& w, int64_t n, int64_t c, Scratch& scratch) {
  float* packed = scratch.floats(w.cells() * L + kLanes);
  pack_window<L>(p, w, n, c, packed);
  return {packed, ptrdiff_t(w.width())};
}

// Of channels of floats that are read one by one a window inside the image is read as it lies.
template <int L>
View view(const Problem& p, const Window& w, int64_t n, int64_t c, int planes, Scratch& scratch) {
  bool is_inside = w.first_x() >= 0 && w.first_y() >= 0 && w.end_x() <= p.in_width &&
                   w.end_y() <= p.in_height;
  if (L == 1 && p.type == kFloat && p.image_column_step == 1 && is_inside) {
    AnyRun run = image_run(p, L, n, c, w.first_y(), w.first_x());
    return {run.run<float>().start, ptrdiff_t(p.image_row_step), ptrdiff_t(p.image_channel_step)};
  }
  if constexpr (L == 1) return pack_planes(p, w, n, c, planes, scratch);
  return pack_together<L>(p, w, n, c, scratch);
}

// The four pixels round a point; of one channel, those round `kLanes` points.
template <int L>
struct Corners {
  Floats<L> nw, ne, sw, se;
  STN_INLINE Corners(const float* packed, ptrdiff_t row, int32_t cell) {
    const float *north = packed + ptrdiff_t(cell) * L, *south = north + row * L;
    nw = load<Floats<L>>(north), ne = load<Floats<L>>(north + L);
    sw = load<Floats<L>>(south), se = load<Floats<L>>(south + L);
  }
};

template <int... I>
STN_INLINE void load_pairs(const float* packed, const int32_t* cell, F& west, F& east,
                           std::integer_sequence<int, I...>) {
  using Doubles = typename VectorOf<double, kLanes / 2>::type;
  // In the order that leaves the pixels sorted when each 128 bits are taken apart.
  Doubles a = {load<double>(packed + cell[I / 2 * 4 + I % 2])...};
  Doubles b = {load<double>(packed + cell[I / 2 * 4 + I % 2 + 2])...};
  west = shuffle<Alternate<false>, kLanes>((F)a, (F)b);
  east = shuffle<Alternate<true>, kLanes>((F)a, (F)b);
}

#if defined(__AVX512F__)
// Two gathers of eight pairs each take half the time of sixteen loads and as many shuffles.
template <bool Odd>
struct EveryOther {
  template <int L>
  static constexpr int at(int i) {
    return 2 * i + Odd;
  }
};
STN_INLINE void gather_pairs(const float* packed, const int32_t* cell, F& west, F& east) {
  __m512d a = _mm512_i32gather_pd(load<__m256i>(cell), packed, 4);
  __m512d b = _mm512_i32gather_pd(load<__m256i>(cell + 8), packed, 4);
  west = shuffle<EveryOther<false>, kLanes>((F)a, (F)b);
  east = shuffle<EveryOther<true>, kLanes>((F)a, (F)b);
}
#endif

struct ManyCorners {
  F nw, ne, sw, se;
#if defined(__AVX512F__)
  STN_INLINE void find_level(const float* packed, ptrdiff_t row, const int32_t* cell, int32_t last) {
    I cells = load<I>(cell);
    nw = ne = sw = se = F{};
    for (unsigned rest = 0xffff; rest;) {
      int32_t start = std::min(cell[__builtin_ctz(rest)], last);
      I at = cells - splat<kLanes>(start), next = at + 1;
      __mmask16 here = _mm512_cmple_epu32_mask((__m512i)at, _mm512_set1_epi32(kLevel));
      const float *north = packed + start, *south = north + row;
      auto pick = [&](const float* from, I which, F& to) {
        F found = _mm512_permutex2var_ps(load<F>(from), (__m512i)which, load<F>(from + kLanes));
        to = _mm512_mask_mov_ps(to, here, found);
      };
      pick(north, at, nw), pick(north, next, ne), pick(south, at, sw), pick(south, next, se);
      rest &= ~here;
    }
  }
#endif
  template <class Level>
  STN_INLINE ManyCorners(const View& view, const float* packed, const int32_t* cell, Level) {
    ptrdiff_t row = view.row;
#if defined(__AVX512F__)
    if constexpr (Level::value) {
      find_level(packed, row, cell, view.last);
      return;
    }
    gather_pairs(packed, cell, nw, ne);
    gather_pairs(packed + row, cell, sw, se);
#else
    std::make_integer_sequence<int, kLanes / 2> order;
    load_pairs(packed, cell, nw, ne, order);
    load_pairs(packed + row, cell, sw, se, order);
#endif
  }
};

template <int L>
STN_INLINE void read(const View& view, const float* packed, const Chunk& k, float* out) {
  if constexpr (L == 1) {
    view.by_level([&](auto level) {
      for (int i = 0; i < k.count; i += kLanes) {
        ManyCorners corners(view, packed, k.cell + i, level);
        store(out + i, interpolate(corners, load<F>(k.fx + i), load<F>(k.fy + i)));
      }
    });
  } else {
    for (int i = 0; i < k.count; i++) {
      Corners<L> corners(packed, view.row, k.cell[i]);
      store(out + i * L, interpolate(corners, splat<L>(k.fx[i]), splat<L>(k.fy[i])));
    }
  }
}

// What lost points are read as.
template <int L>
STN_INLINE void lose(const Chunk& k, float* out) {
  if (k.any_lost)
    for (int j = 0; j < k.count; j++)
      if (k.is_lost[j]) std::fill(out + j * L, out + (j + 1) * L, NAN);
}

// The mean of what is read and what was read `before` times. A running one keeps equal readings as they are,
// to the last bit.
inline void add_to_mean(const float* out, int count, int before, float* mean) {
  if (before == 0) return void(std::memcpy(mean, out, count * sizeof(float)));
  float share = 1.0f / float(before + 1);
  for (int i = 0; i < count; i++) mean[i] += share * (out[i] - mean[i]);
}

template <int L, Interpolation Kind>
void sample_part(const Problem& p, const Source& source, const Window& w, Chunk& k, int64_t n,
                 int64_t c, int64_t first, int64_t end) {
  static thread_local Scratch scratch;
  Weights weights;
  constexpr int kMost = L == 1 ? channels_of(L, Kind) : 1, kRoom = Chunk::kRoom * L;
  alignas(64) float all[(Kind == kArea ? 1 + kMost : 1) * kRoom], *out = all;
  int planes = int(std::min<int64_t>(kMost, p.channels - c));
  if (source.is_lost) {
    std::fill(out, out + kChunk * L, NAN);
    for (int q = 0; q < planes; q++)
      for (int64_t i = first; i < end; i += kChunk)
        unpack<L>(out, std::min<int64_t>(kChunk, end - i), output_run(p, L, n, c + q, i));
    return;
  }
  View pixels = view<L>(p, w, n, c, planes, scratch);
  if (L == 1 && Kind != kBicubic) pixels.see(p, w, source);
  for (int64_t i = first; i < end; i += kChunk) {
    over_readings<Kind>(source, [&](const Source& reading, int r) {
      start(reading, k, i, end);
      locate<false>(p, w, pixels.row, k);
      if constexpr (Kind == kBicubic) weights.find(k);
      for (int q = 0; q < planes; q++) {
        const float* from = pixels.start + q * pixels.plane;
        if constexpr (Kind == kBicubic)
          read<L>(from, pixels.row, k, weights, out);
        else
          read<L>(pixels, from, k, out);
        lose<L>(k, out);
        if constexpr (Kind == kArea)
          add_to_mean(out, k.count * L, r, all + (1 + q) * kRoom);
        else
          unpack<L>(out, k.count, output_run(p, L, n, c + q, i));
      }
    });
    if constexpr (Kind == kArea)
      for (int q = 0; q < planes; q++)
        unpack<L>(all + (1 + q) * kRoom, k.count, output_run(p, L, n, c + q, i));
  }
}

}  // namespace
