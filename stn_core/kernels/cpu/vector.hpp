// Vectors of L floats by the compiler's vector extension, so that one source serves every width.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define STN_INLINE inline __attribute__((always_inline))

namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

template <class T, int L>
struct VectorOf {
  typedef T type __attribute__((vector_size(L * sizeof(T))));
};
template <int L>
using Floats = typename VectorOf<float, L>::type;
template <int L>
using Ints = typename VectorOf<int32_t, L>::type;
template <int L>
using Words = typename VectorOf<uint32_t, L>::type;

template <class Vector>
STN_INLINE Vector load(const void* from) {
  Vector value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <class Vector>
STN_INLINE void store(void* to, Vector value) {
  std::memcpy(to, &value, sizeof value);
}

template <class Vector>
STN_INLINE void add_to(float* to, Vector value) {
  store(to, load<Vector>(to) + value);
}

template <class Vector, class T, int... I>
STN_INLINE Vector splat_(T x, std::integer_sequence<int, I...>) {
  return Vector{(void(I), x)...};
}
template <int L>
STN_INLINE Floats<L> splat(float x) {
  return splat_<Floats<L>>(x, std::make_integer_sequence<int, L>());
}
template <int L>
STN_INLINE Ints<L> splat(int32_t x) {
  return splat_<Ints<L>>(x, std::make_integer_sequence<int, L>());
}
template <int L>
STN_INLINE Words<L> splat(uint32_t x) {
  return splat_<Words<L>>(x, std::make_integer_sequence<int, L>());
}

template <int L, int... I>
STN_INLINE Floats<L> count_up_(std::integer_sequence<int, I...>) {
  return Floats<L>{float(I)...};
}
template <int L>
STN_INLINE Floats<L> count_up() {
  return count_up_<L>(std::make_integer_sequence<int, L>());
}

// A NaN in x gives `bound`.
template <class Vector>
STN_INLINE Vector at_least(Vector x, Vector bound) {
  return x > bound ? x : bound;
}
template <class Vector>
STN_INLINE Vector at_most(Vector x, Vector bound) {
  return x < bound ? x : bound;
}

// ---- shuffles: `Pick::at(i)` says which element of (a, b) comes to place i

template <class Pick, int L, int... I>
STN_INLINE Floats<L> shuffle_(Floats<L> a, Floats<L> b, std::integer_sequence<int, I...>) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, Pick::template at<L>(I)...);
#else
  return __builtin_shuffle(a, b, Ints<L>{Pick::template at<L>(I)...});
#endif
}
template <class Pick, int L>
STN_INLINE Floats<L> shuffle(Floats<L> a, Floats<L> b) {
  return shuffle_<Pick, L>(a, b, std::make_integer_sequence<int, L>());
}

// Within each 128 bits, as the instructions have it: a0 b0 a1 b1, or with High a2 b2 a3 b3.
template <bool High>
struct Interleave {
  template <int L>
  static constexpr int at(int i) {
    return (i / 4) * 4 + (High ? 2 : 0) + (i % 4) / 2 + (i % 2) * L;
  }
};
// Within each 128 bits: a0 a1 b0 b1, or with High a2 a3 b2 b3.
template <bool High>
struct Pairs {
  template <int L>
  static constexpr int at(int i) {
    return (i / 4) * 4 + (High ? 2 : 0) + i % 2 + (i % 4) / 2 * L;
  }
};
// Within each 128 bits: a0 a2 b0 b2, or with High a1 a3 b1 b3.
template <bool High>
struct Alternate {
  template <int L>
  static constexpr int at(int i) {
    return (i / 4) * 4 + (High ? 1 : 0) + (i % 2) * 2 + (i % 4) / 2 * L;
  }
};
// Of blocks of S: those of `a` that stand at even places beside those of `b`, or with High the odd.
template <int S, bool High>
struct Blocks {
  template <int L>
  static constexpr int at(int i) {
    return (i & S) ? L + (High ? i : i ^ S) : (High ? i ^ S : i);
  }
};

template <int S, int L>
STN_INLINE void swap_blocks(Floats<L> (&row)[L]) {
  for (int i = 0; i < L; i++) {
    if (i & S) continue;
    Floats<L> a = row[i], b = row[i + S];
    row[i] = shuffle<Blocks<S, false>, L>(a, b);
    row[i + S] = shuffle<Blocks<S, true>, L>(a, b);
  }
}

// Within each 128 bits the four rows become columns.
template <int L>
STN_INLINE void transpose_fours(Floats<L>* row) {
  Floats<L> a = shuffle<Interleave<false>, L>(row[0], row[1]);
  Floats<L> b = shuffle<Interleave<true>, L>(row[0], row[1]);
  Floats<L> c = shuffle<Interleave<false>, L>(row[2], row[3]);
  Floats<L> d = shuffle<Interleave<true>, L>(row[2], row[3]);
  row[0] = shuffle<Pairs<false>, L>(a, c);
  row[1] = shuffle<Pairs<true>, L>(a, c);
  row[2] = shuffle<Pairs<false>, L>(b, d);
  row[3] = shuffle<Pairs<true>, L>(b, d);
}

template <int L>
STN_INLINE void transpose(Floats<L> (&row)[L]) {
  for (int i = 0; i < L; i += 4) transpose_fours<L>(row + i);
  if constexpr (L >= 8) swap_blocks<4, L>(row);
  if constexpr (L >= 16) swap_blocks<8, L>(row);
}

// After rows of fours were transposed within each 128 bits, of numbers that came in their order.
struct Sorted {
  template <int L>
  static constexpr int at(int i) {
    return i % (L / 4) * 4 + i / (L / 4);
  }
};

// And before it, what makes them come in their order.
struct ByFours {
  template <int L>
  static constexpr int at(int i) {
    return i % 4 * (L / 4) + i / 4;
  }
};

// Place i of the result is the sum over row[i].
template <int L>
STN_INLINE Floats<L> sums(Floats<L> (&row)[L]) {
  Floats<L> part[L / 4];
  for (int i = 0; i < L; i += 4) {
    Floats<L> a = shuffle<Interleave<false>, L>(row[i], row[i + 1]) +
                  shuffle<Interleave<true>, L>(row[i], row[i + 1]);
    Floats<L> b = shuffle<Interleave<false>, L>(row[i + 2], row[i + 3]) +
                  shuffle<Interleave<true>, L>(row[i + 2], row[i + 3]);
    part[i / 4] = shuffle<Pairs<false>, L>(a, b) + shuffle<Pairs<true>, L>(a, b);
  }
  if constexpr (L == 16) {
    for (int i = 0; i < 2; i++)
      part[i] = shuffle<Blocks<8, false>, L>(part[i], part[i + 2]) +
                shuffle<Blocks<8, true>, L>(part[i], part[i + 2]);
  }
  if constexpr (L >= 8)
    part[0] = shuffle<Blocks<4, false>, L>(part[0], part[1]) +
              shuffle<Blocks<4, true>, L>(part[0], part[1]);
  return part[0];
}

template <int L>
STN_INLINE float sum(Floats<L> x) {
  if constexpr (L == 1) {
    return x[0];
  } else {
    Floats<L / 2> half[2];
    std::memcpy(half, &x, sizeof x);
    return sum<L / 2>(half[0] + half[1]);
  }
}

// ---- numbers in memory

struct Bfloat16 {
  uint16_t bits;
};
struct Float16 {
  uint16_t bits;
};

template <int L>
STN_INLINE Words<L> load_words(const void* from) {
  return __builtin_convertvector(load<typename VectorOf<uint16_t, L>::type>(from), Words<L>);
}
template <int L>
STN_INLINE void store_words(void* to, Words<L> value) {
  store(to, __builtin_convertvector(value, typename VectorOf<uint16_t, L>::type));
}

template <int L>
STN_INLINE Floats<L> load_floats(const float* from) {
  return load<Floats<L>>(from);
}
template <int L>
STN_INLINE Floats<L> load_floats(const Bfloat16* from) {
  return (Floats<L>)(load_words<L>(from) << 16);
}
template <int L>
STN_INLINE Floats<L> load_floats(const Float16* from) {
  Words<L> half = load_words<L>(from), rest = half & 0x7fff;
  // Subnormal halves come out right too, for the product is one of floats.
  Words<L> wide = (Words<L>)((Floats<L>)(rest << 13) * splat<L>(0x1p112f));
  wide = rest >= 0x7c00 ? (rest << 13) | 0x7f800000 : wide;
  return (Floats<L>)(wide | (half & 0x8000) << 16);
}

template <int L>
STN_INLINE void store_floats(float* to, Floats<L> value) {
  store(to, value);
}
template <int L>
STN_INLINE void store_floats(Bfloat16* to, Floats<L> value) {
  Words<L> bits = (Words<L>)value;
  Words<L> even = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  store_words<L>(to, (bits & 0x7fffffff) > 0x7f800000 ? splat<L>(uint32_t(0x7fc0)) : even);
}
template <int L>
STN_INLINE void store_floats(Float16* to, Floats<L> value) {
  Words<L> bits = (Words<L>)value, sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
  Words<L> normal = (rest - 0x38000000 + 0xfff + (rest >> 13 & 1)) >> 13;
  // The addition of a half rounds what is subnormal as a half.
  Words<L> small = (Words<L>)((Floats<L>)rest + splat<L>(0.5f)) - 0x3f000000;
  Words<L> half = rest < 0x38800000 ? small : normal;
  half = rest >= 0x477ff000 ? splat<L>(uint32_t(0x7c00)) : half;
  half = rest > 0x7f800000 ? splat<L>(uint32_t(0x7e00)) : half;
  store_words<L>(to, sign | half);
}

// The numbers from `first` to `end` of a vector, and zeros; nothing else is touched.
template <int L, class T>
STN_INLINE Floats<L> load_between(const T* from, int first, int end) {
#if defined(__AVX512F__)
  if constexpr (L == 16) {
    auto mask = __mmask16((1u << end) - (1u << first));
    if constexpr (sizeof(T) == 4) return _mm512_maskz_loadu_ps(mask, from);
    alignas(32) T some[L];
    store(some, _mm256_maskz_loadu_epi16(mask, from));
    return load_floats<L>(some);
  }
#elif defined(__AVX2__)
  if constexpr (L == 8 && sizeof(T) == 4) {
    Ints<8> at = {0, 1, 2, 3, 4, 5, 6, 7}, mask = (at >= splat<8>(first)) & (at < splat<8>(end));
    return _mm256_maskload_ps(from, (__m256i)mask);
  }
#endif
  alignas(64) T some[L] = {};
  for (int i = first; i < end; i++) some[i] = from[i];
  return load_floats<L>(some);
}

// The first `count` numbers of a vector; nothing beyond them is touched.
template <int L, class T>
STN_INLINE Floats<L> load_first(const T* from, int count) {
  alignas(64) T some[L] = {};
#if defined(__AVX512F__)
  if constexpr (L == 16 && sizeof(T) == 4)
    store(some, _mm512_maskz_loadu_ps(__mmask16((1u << count) - 1), from));
  else if constexpr (L == 16)
    store(some, _mm256_maskz_loadu_epi16(__mmask16((1u << count) - 1), from));
  else
#elif defined(__AVX2__)
  if constexpr (L == 8 && sizeof(T) == 4) {
    Ints<8> mask = Ints<8>{0, 1, 2, 3, 4, 5, 6, 7} < splat<8>(count);
    store(some, _mm256_maskload_ps(reinterpret_cast<const float*>(from), (__m256i)mask));
  } else
#endif
    std::memcpy(some, from, count * sizeof(T));
  return load_floats<L>(some);
}
template <int L, class T>
STN_INLINE void store_first(T* to, Floats<L> value, int count) {
  alignas(64) T some[L];
  store_floats<L>(some, value);
#if defined(__AVX512F__)
  if constexpr (L == 16 && sizeof(T) == 4)
    _mm512_mask_storeu_ps(to, __mmask16((1u << count) - 1), load<__m512>(some));
  else if constexpr (L == 16)
    _mm256_mask_storeu_epi16(to, __mmask16((1u << count) - 1), load<__m256i>(some));
  else
#elif defined(__AVX2__)
  if constexpr (L == 8 && sizeof(T) == 4) {
    Ints<8> mask = Ints<8>{0, 1, 2, 3, 4, 5, 6, 7} < splat<8>(count);
    _mm256_maskstore_ps(reinterpret_cast<float*>(to), (__m256i)mask, load<__m256>(some));
  } else
#endif
    std::memcpy(to, some, count * sizeof(T));
}

template <class T>
STN_INLINE float load_float(const T* from) {
  if constexpr (std::is_same_v<T, float>) return *from;
  alignas(16) T some[4] = {*from};
  return load_floats<4>(some)[0];
}
template <class T>
STN_INLINE void store_float(T* to, float value) {
  if constexpr (std::is_same_v<T, float>) {
    *to = value;
  } else {
    alignas(16) T some[4];
    store_floats<4>(some, splat<4>(value));
    *to = some[0];
  }
}

}  // namespace
