// Forward with the nearest pixel: its bits are moved as they are, so nothing is packed.
#pragma once
#include "parts.hpp"
#include "pixels.hpp"

namespace {

constexpr int kMoved = 8 * kChunk;  // output pixels whose sources are known at once
// Instead of a step from an image's first pixel.
constexpr int32_t kOutside = -1, kLost = -2;

// The steps to the pixels that a chunk reads.
inline void steps_to_nearest(const Problem& p, Chunk& k, int32_t* steps) {
  Sides sides(p);
  I last_x = splat<kLanes>(int32_t(p.in_width - 1)), last_y = splat<kLanes>(int32_t(p.in_height - 1));
  I row = splat<kLanes>(int32_t(p.image_row_step)), column = splat<kLanes>(int32_t(p.image_column_step));
  for (int i = 0; i < k.count; i += kLanes) {
    I x, y;
    find_cells<true>(sides, k, i, x, y);
    if (sides.x.is_kept) x = at_most(x, last_x), y = at_most(y, last_y);
    I is_inside = (x >= 0) & (x <= last_x) & (y >= 0) & (y <= last_y);
    store(steps + i, is_inside ? y * row + x * column : splat<kLanes>(kOutside));
  }
  if (k.any_lost)
    for (int i = 0; i < k.count; i++)
      if (k.is_lost[i]) steps[i] = kLost;
}

// Pixels that are gathered at once; 16 would be no quicker.
constexpr int kGathered = std::min(kLanes, 8);
template <class Bits>
using Some = typename VectorOf<Bits, kGathered>::type;

template <class Bits, int... I>
STN_INLINE Some<Bits> gather(const Bits* from, Some<int32_t> steps, Some<Bits> rest,
                             std::integer_sequence<int, I...>) {
  auto is_inside = steps >= 0;
#if defined(__AVX2__)
  if constexpr (sizeof(Bits) == 4)
    return (Some<Bits>)_mm256_mask_i32gather_epi32((__m256i)rest, reinterpret_cast<const int*>(from),
                                                   (__m256i)steps, (__m256i)is_inside, 4);
#endif
  auto inside = at_least(steps, Some<int32_t>{});
  return __builtin_convertvector(is_inside, Some<Bits>) ? Some<Bits>{from[inside[I]]...} : rest;
}

// `none` lies behind what is written where there is no pixel, as the steps say.
template <class Bits>
void move_plane(const int32_t* steps, int64_t count, const Bits* from, const Bits* none, Bits* to,
                ptrdiff_t step) {
  int64_t i = 0;
  std::make_integer_sequence<int, kGathered> order;
  for (; step == 1 && i + kGathered <= count; i += kGathered) {
    auto at = load<Some<int32_t>>(steps + i);
    auto is_lost = __builtin_convertvector(at == kLost, Some<Bits>);
    auto rest = is_lost ? Some<Bits>{} + none[kLost] : Some<Bits>{} + none[kOutside];
    store(to + i, gather(from, at, rest, order));
  }
  for (; i < count; i++) to[i * step] = (steps[i] < 0 ? none : from)[steps[i]];
}

template <class Bits>
void move_pixels(const int32_t* steps, int64_t count, const Bits* from, Bits nan, const Bits* outside,
                 Bits* to, ptrdiff_t step, int64_t channels) {
  for (int64_t i = 0; i < count; i++, to += step)
    if (steps[i] == kLost)
      std::fill(to, to + channels, nan);
    else
      std::memcpy(to, steps[i] < 0 ? outside : from + steps[i], channels * sizeof(Bits));
}

template <class Bits>
Bits bits_of(int64_t type, float x) {
  Bits bits{};
  if (type == kFloat) std::memcpy(&bits, &x, sizeof bits);
  if (type == kBfloat16) store_float(reinterpret_cast<Bfloat16*>(&bits), x);
  if (type == kFloat16) store_float(reinterpret_cast<Float16*>(&bits), x);
  return bits;
}

template <class Bits>
void move_part(const Problem& p, const Source& source, Bits nan, int64_t n, int64_t c, int64_t first,
               int64_t end) {
  int32_t steps[kMoved + Chunk::kRoom];
  Chunk k;
  auto from = reinterpret_cast<const Bits*>(p.image) + n * p.image_batch_step + c * p.image_channel_step;
  auto to = reinterpret_cast<Bits*>(p.output) + n * p.output_batch_step + c * p.output_channel_step +
            first * p.output_pixel_step;
  int64_t channels = std::min(kTogether, p.channels - c);
  Bits outside[kTogether];
  for (int64_t q = 0; q < channels; q++) outside[q] = bits_of<Bits>(p.type, p.outside(c + q));
  for (; first < end; first += kMoved, to += kMoved * p.output_pixel_step) {
    int64_t count = std::min<int64_t>(kMoved, end - first);
    if (source.is_lost) std::fill(steps, steps + count, kLost);
    for (int64_t i = 0; i < count && !source.is_lost; i += kChunk) {
      start(source, k, first + i, end);
      steps_to_nearest(p, k, steps + i);
    }
    if (p.image_channel_step == 1 && p.output_channel_step == 1) {
      move_pixels(steps, count, from, nan, outside, to, p.output_pixel_step, channels);
      continue;
    }
    for (int64_t q = 0; q < channels; q++) {
      const Bits none[] = {nan, outside[q]};
      move_plane(steps, count, from + q * p.image_channel_step, none + 2, to + q * p.output_channel_step,
                 p.output_pixel_step);
    }
  }
}

template <class Bits>
void move(const Problem& p, Bits nan) {
  in_parts(p, kTogether, [&](const Source& source, int64_t n, int64_t c, int64_t last, int64_t first,
                             int64_t end) {
    for (; c < last; c += kTogether) move_part(p, source, nan, n, c, first, end);
  });
}

inline void sample_nearest(const Problem& p) {
  if (p.type == kFloat) return move<uint32_t>(p, 0x7fc00000);
  move<uint16_t>(p, p.type == kBfloat16 ? 0x7fc0 : 0x7e00);
}

}  // namespace
