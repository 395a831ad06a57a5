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
  return L == 1 && kind == kBilinear ? kPlanes : L;
}

template <int L>
void pack_window(const Problem& p, const Window& w, int64_t n, int64_t c, float* packed) {
  int64_t x0 = std::max<int64_t>(w.first_x(), 0), x1 = std::min(w.end_x(), p.in_width);
  size_t row = w.width() * L;
  for (int64_t y = w.first_y(); y < w.end_y(); y++, packed += row) {
    int64_t from = home(p, y, p.in_height);
    if (from < 0 || x1 <= x0) {
      std::memset(packed, 0, row * sizeof(float));
      continue;
    }
    std::memset(packed, 0, (x0 - w.first_x()) * L * sizeof(float));
    pack<L>(image_run(p, L, n, c, from, x0), x1 - x0, packed + (x0 - w.first_x()) * L);
    std::memset(packed + (x1 - w.first_x()) * L, 0, (w.end_x() - x1) * L * sizeof(float));
    over_outer_columns(p, w, [&](int64_t x, int64_t from) {
      std::memcpy(packed + x * L, packed + from * L, L * sizeof(float));
    });
  }
}

// Pixels of a window: packed, or where they lie.
struct View {
  const float* start;
  ptrdiff_t row;  // from row to row, in pixels
  ptrdiff_t plane = 0;
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
  STN_INLINE ManyCorners(const float* packed, ptrdiff_t row, const int32_t* cell) {
#if defined(__AVX512F__)
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
STN_INLINE void read(const float* packed, ptrdiff_t row, const Chunk& k, float* out) {
  if constexpr (L == 1) {
    for (int i = 0; i < k.count; i += kLanes) {
      ManyCorners corners(packed, row, k.cell + i);
      store(out + i, interpolate(corners, load<F>(k.fx + i), load<F>(k.fy + i)));
    }
  } else {
    for (int i = 0; i < k.count; i++) {
      Corners<L> corners(packed, row, k.cell[i]);
      store(out + i * L, interpolate(corners, splat<L>(k.fx[i]), splat<L>(k.fy[i])));
    }
  }
}

template <int L, Interpolation Kind>
void sample_part(const Problem& p, const Source& source, const Window& w, Chunk& k, int64_t n,
                 int64_t c, int64_t first, int64_t end) {
  static thread_local Scratch scratch;
  static thread_local Weights weights;
  alignas(64) float out[Chunk::kRoom * L];
  int planes = L == 1 ? int(std::min<int64_t>(channels_of(L, Kind), p.channels - c)) : 1;
  if (source.is_lost) {
    std::fill(out, out + kChunk * L, NAN);
    for (int q = 0; q < planes; q++)
      for (int64_t i = first; i < end; i += kChunk)
        unpack<L>(out, std::min<int64_t>(kChunk, end - i), output_run(p, L, n, c + q, i));
    return;
  }
  View pixels = view<L>(p, w, n, c, planes, scratch);
  for (int64_t i = first; i < end; i += kChunk) {
    start(source, k, i, end);
    locate<false>(p, w, pixels.row, k);
    if constexpr (Kind == kBicubic) weights.find(k);
    for (int q = 0; q < planes; q++) {
      const float* from = pixels.start + q * pixels.plane;
      if constexpr (Kind == kBicubic)
        read<L>(from, pixels.row, k, weights, out);
      else
        read<L>(from, pixels.row, k, out);
      if (k.any_lost)
        for (int j = 0; j < k.count; j++)
          if (k.is_lost[j]) std::fill(out + j * L, out + (j + 1) * L, NAN);
      unpack<L>(out, k.count, output_run(p, L, n, c + q, i));
    }
  }
}

template <int L, Interpolation Kind>
void sample(const Problem& p) {
  bool is_last = lies_by_pixel(p);
  int64_t step = is_last ? kTogether : channels_of(L, Kind);
  in_parts(p, step, [&](const Source& source, int64_t n, int64_t c, int64_t last, int64_t first,
                        int64_t end) {
    static thread_local Chunk k;
    if (is_last) {
      for (; c < last; c += step) sample_pixels(p, source, k, n, c, first, end);
      return;
    }
    Window w = source.is_lost ? Window{} : window_of(p, source, k, first, end);
    for (; c < last; c += step) sample_part<L, Kind>(p, source, w, k, n, c, first, end);
  });
}

}  // namespace
