// Between images in memory, of any of the layouts and types, and pixels packed as L floats each.
#pragma once
#include "problem.hpp"
#include "vector.hpp"

namespace {

// A run of pixels of up to L channels in memory. Steps are in elements; one of the two is 1.
template <class T>
struct Run {
  T* start;
  ptrdiff_t channel_step, pixel_step;
  int channels;
};

// Of steps and a number of channels that may be known when it is compiled.
template <int L, class T, class Step, class Channels>
STN_INLINE void pack_one(const T* from, Step step, Channels channels, float* packed) {
  for (int c = 0; c < channels; c++) packed[c] = load_float(from + c * step);
  for (int c = channels; c < L; c++) packed[c] = 0;
}
template <class T, class Step, class Channels>
STN_INLINE void unpack_one(T* to, Step step, Channels channels, const float* packed) {
  for (int c = 0; c < channels; c++) store_float(to + c * step, packed[c]);
}
// `each(step, channels)`, which for two or three channels that lie together are known then.
template <int L, class T, class Each>
STN_INLINE void by_channels_of(Run<T> run, Each each) {
  std::integral_constant<int, 1> together;
  if (L == 4 && run.channel_step == 1 && run.channels == 3) return each(together, std::integral_constant<int, 3>());
  if (L == 4 && run.channel_step == 1 && run.channels == 2) return each(together, std::integral_constant<int, 2>());
  each(run.channel_step, run.channels);
}

// `block(i, L)` on blocks of L from 0 to count, the last one overlapping the one before; `block(0, count)`
// where there are fewer.
template <int L, class Block>
STN_INLINE void in_blocks(ptrdiff_t count, Block block) {
  if (count < L) {
    if (count > 0) block(0, int(count));
    return;
  }
  std::integral_constant<int, L> all;
  for (ptrdiff_t i = 0; i <= count - L; i += L) block(i, all);
  if (count % L) block(count - L, all);
}
template <int L, class T, class Count>
STN_INLINE Floats<L> load_some(const T* from, Count count) {
  if constexpr (std::is_same_v<Count, int>)
    return load_first<L>(from, count);
  else
    return load_floats<L>(from);
}
template <int L, class T, class Count>
STN_INLINE void store_some(T* to, Floats<L> value, Count count) {
  if constexpr (std::is_same_v<Count, int>)
    store_first<L>(to, value, count);
  else
    store_floats<L>(to, value);
}

template <int L, class T>
void pack(Run<T> run, ptrdiff_t count, float* packed) {
  if constexpr (L == 1) {
    const T* from = run.start;
    if (run.pixel_step == 1)
      return in_blocks<kLanes>(count, [&](ptrdiff_t i, auto some) {
        store_some<kLanes>(packed + i, load_some<kLanes>(from + i, some), some);
      });
  } else if (run.pixel_step == 1) {
    return in_blocks<L>(count, [&](ptrdiff_t i, auto some) {
      Floats<L> row[L];
      for (int c = 0; c < L; c++)
        row[c] = c < run.channels ? load_some<L>(run.start + c * run.channel_step + i, some)
                                  : Floats<L>{};
      transpose<L>(row);
      for (int j = 0; j < some; j++) store(packed + (i + j) * L, row[j]);
    });
  } else if (run.channels == L && run.channel_step == 1) {
    for (ptrdiff_t i = 0; i < count; i++)
      store(packed + i * L, load_floats<L>(run.start + i * run.pixel_step));
    return;
  } else if (L == kLanes && run.channel_step == 1) {
    for (ptrdiff_t i = 0; i < count; i++)
      store(packed + i * L, load_first<L>(run.start + i * run.pixel_step, run.channels));
    return;
  }
  by_channels_of<L>(run, [&](auto step, auto channels) {
    for (ptrdiff_t i = 0; i < count; i++)
      pack_one<L>(run.start + i * run.pixel_step, step, channels, packed + i * L);
  });
}

template <int L, class T>
void unpack(const float* packed, ptrdiff_t count, Run<T> run) {
  if constexpr (L == 1) {
    T* to = run.start;
    if (run.pixel_step == 1)
      return in_blocks<kLanes>(count, [&](ptrdiff_t i, auto some) {
        store_some<kLanes>(to + i, load_some<kLanes>(packed + i, some), some);
      });
  } else if (run.pixel_step == 1) {
    return in_blocks<L>(count, [&](ptrdiff_t i, auto some) {
      Floats<L> row[L];
      for (int j = 0; j < L; j++)
        row[j] = j < some ? load<Floats<L>>(packed + (i + j) * L) : Floats<L>{};
      transpose<L>(row);
      for (int c = 0; c < L; c++)
        if (c < run.channels) store_some<L>(run.start + c * run.channel_step + i, row[c], some);
    });
  } else if (run.channels == L && run.channel_step == 1) {
    for (ptrdiff_t i = 0; i < count; i++)
      store_floats<L>(run.start + i * run.pixel_step, load<Floats<L>>(packed + i * L));
    return;
  } else if (L == kLanes && run.channel_step == 1) {
    for (ptrdiff_t i = 0; i < count; i++)
      store_first<L>(run.start + i * run.pixel_step, load<Floats<L>>(packed + i * L), run.channels);
    return;
  }
  by_channels_of<L>(run, [&](auto step, auto channels) {
    for (ptrdiff_t i = 0; i < count; i++)
      unpack_one(run.start + i * run.pixel_step, step, channels, packed + i * L);
  });
}

template <class T>
void clear(Run<T> run, ptrdiff_t count) {
  if (run.pixel_step == 1) {
    for (int c = 0; c < run.channels; c++)
      std::memset(run.start + c * run.channel_step, 0, count * sizeof(T));
  } else {
    // Then channels lie together, if not all of them are here.
    bool is_whole = run.pixel_step == run.channels;
    for (ptrdiff_t i = 0; i < (is_whole ? 1 : count); i++)
      std::memset(run.start + i * run.pixel_step, 0,
                  (is_whole ? count : 1) * run.channels * sizeof(T));
  }
}

// A run of one of the types, known when it is read.
struct AnyRun {
  int64_t type, start;  // of the tensor
  int64_t at;           // in elements
  ptrdiff_t channel_step, pixel_step;
  int channels;

  template <class Visit>
  void visit(Visit each) const {
    if (type == kFloat) return each(run<float>());
    if (type == kBfloat16) return each(run<Bfloat16>());
    each(run<Float16>());
  }
  template <class T>
  Run<T> run() const {
    return {reinterpret_cast<T*>(start) + at, channel_step, pixel_step, channels};
  }
};

template <int L>
__attribute__((noinline)) void pack(AnyRun run, ptrdiff_t count, float* packed) {
  run.visit([&](auto run) { pack<L>(run, count, packed); });
}
template <int L>
__attribute__((noinline)) void unpack(const float* packed, ptrdiff_t count, AnyRun run) {
  run.visit([&](auto run) { unpack<L>(packed, count, run); });
}
inline void clear(AnyRun run, ptrdiff_t count) {
  run.visit([&](auto run) { clear(run, count); });
}

}  // namespace
