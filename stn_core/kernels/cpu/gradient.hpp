// Backward: the slopes of what was read give the map's gradient, and each output pixel's gradient
// goes back to the four pixels that it was read from.
#pragma once
#include "sample.hpp"

namespace {

inline AnyRun gradient_run(const Problem& p, int L, int64_t n, int64_t c, int64_t y, int64_t x) {
  int64_t at = n * p.gradient_batch_step + c * p.gradient_channel_step +
               (y * p.in_width + x) * p.gradient_pixel_step;
  return {p.type, p.image_gradient, at, ptrdiff_t(p.gradient_channel_step),
          ptrdiff_t(p.gradient_pixel_step), int(std::min<int64_t>(L, p.channels - c))};
}

// The gradient by each reading of a chunk, and zeros for what its last vector holds beyond.
template <int L>
void pack_output(const Problem& p, int64_t n, int64_t c, const Chunk& k, float* g) {
  pack<L>(output_run(p, L, n, c, k.first), k.count, g);
  if (p.interpolation == kArea) {
    float share = 1.0f / float(p.max_shrink * p.max_shrink);
    for (int i = 0; i < k.count * L; i++) g[i] *= share;
  }
  std::fill(g + k.count * L, g + (k.count + 15) / 16 * 16 * L, 0.0f);
}

// By the coordinates, summed over the channels: k.dx and k.dy, of the gradient g by the output.
template <int L>
STN_INLINE void slopes(const View& view, const float* g, Chunk& k) {
  for (int i = 0; i < k.count; i += L) {
    Floats<L> dx[L], dy[L];
    for (int j = 0; j < L; j++) {
      Corners<L> c(view.start, view.row, k.cell[i + j]);
      Floats<L> fx = splat<L>(k.fx[i + j]), fy = splat<L>(k.fy[i + j]);
      find_slopes(c, fx, fy, load<Floats<L>>(g + (i + j) * L), dx[j], dy[j]);
    }
    store(k.dx + i, sums<L>(dx));
    store(k.dy + i, sums<L>(dy));
  }
}
// The same of one channel, on top of those before it.
STN_INLINE void slopes_of_one(const View& view, const float* packed, const float* g, Chunk& k, bool is_first) {
  view.by_level([&](auto level) {
    for (int i = 0; i < k.count; i += kLanes) {
      ManyCorners c(view, packed, k.cell + i, level);
      F dx, dy;
      find_slopes(c, load<F>(k.fx + i), load<F>(k.fy + i), load<F>(g + i), dx, dy);
      store(k.dx + i, is_first ? dx : load<F>(k.dx + i) + dx);
      store(k.dy + i, is_first ? dy : load<F>(k.dy + i) + dy);
    }
  });
}
template <int L>
void slopes_by_planes(const Problem& p, const View& view, int64_t n, int64_t c, int planes, const float* g,
                      Chunk& k) {
  alignas(64) float own[Chunk::kRoom];
  for (int q = 0; q < planes; q++) {
    if (L > 1) pack_output<1>(p, n, c + q, k, own);
    slopes_of_one(view, view.start + q * view.plane, L > 1 ? own : g, k, q == 0);
  }
}

// Cells of one channel hold what goes to their four corners apart, nw ne sw se, so that each point
// touches one place; `fold` brings it to the pixels.
constexpr int kCorners = 4;

template <int L, bool Nearest>
STN_INLINE void scatter(float* packed, ptrdiff_t row, const float* g, const Chunk& k) {
  using V = Floats<L == 1 ? kCorners : L>;
  if constexpr (L == 1 && Nearest) {
    for (int i = 0; i < k.count; i++) packed[ptrdiff_t(k.cell[i]) * kCorners] += g[i];
  } else if constexpr (L == 1) {
    alignas(64) float apart[kLanes * kCorners];
    for (int i = 0; i < k.count; i += kLanes) {
      Shares<F> share(load<F>(g + i), load<F>(k.fx + i), load<F>(k.fy + i));
      F corners[] = {share.nw, share.ne, share.sw, share.se};
      transpose_fours<kLanes>(corners);
      for (int j = 0; j < kCorners; j++) store(apart + j * kLanes, corners[j]);
      for (int j = 0; j < kLanes; j++)
        add_to(packed + ptrdiff_t(k.cell[i + j]) * kCorners,
               load<V>(apart + j % kCorners * kLanes + j / kCorners * kCorners));
    }
  } else {
    for (int i = 0; i < k.count; i++) {
      float* north = packed + ptrdiff_t(k.cell[i]) * L;
      V by = load<V>(g + i * L);
      if constexpr (Nearest) {
        add_to(north, by);
      } else {
        float* south = north + row * L;
        Shares<V> share(by, splat<L>(k.fx[i]), splat<L>(k.fy[i]));
        add_to(north, share.nw);
        add_to(north + L, share.ne);
        add_to(south, share.sw);
        add_to(south + L, share.se);
      }
    }
  }
}

// The same to pixels at once, two at a time: where points are few, for then two in a row seldom touch
// one pixel, and there is no `fold` over all of the window.
template <bool Nearest>
void scatter_few(float* packed, ptrdiff_t row, const float* g, const Chunk& k) {
  using V = VectorOf<float, 2>::type;
  for (int i = 0; i < k.count; i++) {
    float* north = packed + k.cell[i];
    if constexpr (Nearest) {
      *north += g[i];
    } else {
      Shares<float> share(g[i], k.fx[i], k.fy[i]);
      add_to(north, V{share.nw, share.ne});
      add_to(north + row, V{share.sw, share.se});
    }
  }
}

// What comes before b0: the last of a, then b0 b1 and so on.
struct Shifted {
  template <int L>
  static constexpr int at(int i) {
    return L - 1 + i;
  }
};
// A row of pixels of one channel, from the cells that have them for a corner: `cells` is the row's
// first one, and the row of cells above lies `row` before.
inline void fold(const float* cells, ptrdiff_t row, ptrdiff_t count, float* out) {
  auto corner = [](const float* from, auto high, F& west, F& east) {
    constexpr bool kHigh = decltype(high)::value;
    auto part = [&](int j) { return load<F>(from + j * kLanes); };
    F a = shuffle<Interleave<kHigh>, kLanes>(part(0), part(1));
    F b = shuffle<Interleave<kHigh>, kLanes>(part(2), part(3));
    west = shuffle<Pairs<false>, kLanes>(a, b), east = shuffle<Pairs<true>, kLanes>(a, b);
  };
  const float* above = cells - row * kCorners;
  // What the cell before the first gives to the first pixel.
  F before{};
  before[kLanes - 1] = cells[-3] + above[-1];
  for (ptrdiff_t i = 0; i < count; i += kLanes, cells += kLanes * kCorners, above += kLanes * kCorners) {
    F nw, ne, sw, se;
    corner(cells, std::false_type(), nw, ne);
    corner(above, std::true_type(), sw, se);
    F east = shuffle<Sorted, kLanes>(ne + se, ne), west = shuffle<Sorted, kLanes>(nw + sw, nw);
    F total = west + shuffle<Shifted, kLanes>(before, east);
    before = east;
    if (count - i >= kLanes)
      store(out + i, total);
    else
      store_first<kLanes>(out + i, total, int(count - i));
  }
}

template <int L>
void unpack_window(const Problem& p, const Window& w, int64_t n, int64_t c, const float* packed,
                   bool is_folded) {
  int64_t x0 = std::max<int64_t>(w.first_x(), 0), x1 = std::min(w.end_x(), p.in_width);
  int64_t y0 = std::max<int64_t>(w.first_y(), 0), y1 = std::min(w.end_y(), p.in_height);
  static thread_local Scratch line;
  // Pixels outside the window, from one that counts along the rows to another.
  auto clear_between = [&](int64_t from, int64_t to) {
    if (to > from) clear(gradient_run(p, L, n, c, 0, from), to - from);
  };
  int64_t end = p.in_height * p.in_width;
  if (x1 <= x0 || y1 <= y0) return clear_between(0, end);
  clear_between(0, y0 * p.in_width + x0);
  for (int64_t y = y0; y < y1; y++) {
    ptrdiff_t cell = (y - w.first_y()) * w.width() + x0 - w.first_x();
    const float* from = packed + cell * L;
    auto run = gradient_run(p, L, n, c, y, x0);
    if (L == 1 && !is_folded) {
      // To where it goes, where that is possible.
      bool is_plain = p.type == kFloat && p.gradient_pixel_step == 1;
      float* folded = is_plain ? run.run<float>().start : line.floats(x1 - x0);
      fold(packed + cell * kCorners, w.width(), x1 - x0, folded);
      from = is_plain ? nullptr : folded;
    }
    if (from) unpack<L>(from, x1 - x0, run);
    clear_between(y * p.in_width + x1, y + 1 < y1 ? (y + 1) * p.in_width + x0 : end);
  }
}

// `total` is where a map with few parameters sums up, or null for one gradient a point.
template <int L, Interpolation Kind>
void differentiate_part(const Problem& p, const Source& source, Chunk& k, int64_t n, int64_t c, double* total) {
  static thread_local Scratch image_scratch, gradient_scratch;
  Weights weights;
  constexpr bool kNear = Kind == kNearest, kIsCubic = Kind == kBicubic;
  alignas(64) float g[Chunk::kRoom * L];
  if (source.is_lost) {
    if (p.image_gradient)
      for (int64_t y = 0; y < p.in_height; y++)
        clear(gradient_run(p, L, n, c, y, 0), p.in_width);
    return;
  }
  Window w = window_of(p, source, k, 0, p.pixels());
  // Few channels are read each by itself, but added to together.
  constexpr bool kIsByPlane = L <= channels_of(1, Kind);
  bool is_by_plane = kIsByPlane && !(L > 1 && p.is_by_pixel());
  View pixels{};
  int planes = int(std::min<int64_t>(L, p.channels - c));
  float* gathered = nullptr;
  bool is_few = false;
  if (p.map_gradient_ && !kNear) {
    pixels = is_by_plane ? pack_planes(p, w, n, c, planes, image_scratch)
                         : pack_together<L>(p, w, n, c, image_scratch);
    if (is_by_plane && !kIsCubic) pixels.see(p, w, source);
  }
  if (p.image_gradient) {
    // For `fold` a row and a cell before the first, and some cells after the last.
    int64_t points = p.pixels() * p.max_shrink * p.max_shrink;
    is_few = L == 1 && 2 * points < w.cells();
    bool is_apart = L == 1 && !is_few;
    int cell = is_apart ? kCorners : L;
    size_t before = is_apart ? (w.width() + 1) * cell : 0, size = (w.cells() + kLanes) * cell;
    before = (before + 15) / 16 * 16;
    gathered = gradient_scratch.floats(before + size);
    std::memset(gathered, 0, (before + size) * sizeof(float));
    gathered += before;
  }
  for (int64_t i = 0; i < p.pixels(); i += kChunk)
    over_readings<Kind>(source, [&](const Source& reading, int r) {
      start(reading, k, i, p.pixels());
      locate<kNear>(p, w, w.width(), k);
      if constexpr (kIsCubic) weights.find(k);
      if (r == 0) pack_output<L>(p, n, c, k, g);
      if (k.any_lost)
        for (int j = 0; j < k.count; j++)
          if (k.is_lost[j]) std::fill(g + j * L, g + (j + 1) * L, 0.0f);
      if (pixels.start) {
        if constexpr (kIsCubic)
          slopes<L>(pixels.start, pixels.row, g, k, weights);
        else if (is_by_plane)
          slopes_by_planes<L>(p, pixels, n, c, planes, g, k);
        else if constexpr (L > 1)
          slopes<L>(pixels, g, k);
        settle(p, k);
      }
      if (gathered) {
        if constexpr (kIsCubic)
          scatter<L>(gathered, w.width(), g, k, weights, is_few ? 1 : kTaps, w.cells());
        else if (is_few)
          scatter_few<kNear>(gathered, w.width(), g, k);
        else
          scatter<L, kNear>(gathered, w.width(), g, k);
      }
      if (pixels.start) reading.add(k, sums_of(total, r), c == 0 && r == 0);
    });
  if (!gathered) return;
  if constexpr (kIsCubic) {
    if (L == 1 && !is_few) add_planes(gathered, w.cells());
    bring_home<L>(p, w, gathered);
  }
  unpack_window<L>(p, w, n, c, gathered, is_few || kIsCubic);
}

}  // namespace
