// The gradient of a convolution by its input, for inputs of few channels: there a matrix product has
// few rows, and what libraries do takes longer than all the rest of the layer.
#pragma once
#include <algorithm>
#include <cstring>

#include "parallel.hpp"
#include "vector.hpp"

namespace {

// Stride 1, and padding below the kernel's sides; all tensors are contiguous float, (batch, channels, height, width) and
// (filters, channels, kernel_height, kernel_width). `_Convolution` in library.py is the same.
struct Convolution {
  int64_t gradient, weight, result;
  int64_t batch, channels, height, width, filters, kernel_height, kernel_width;
  int64_t pad_height, pad_width, threads;

  int64_t out_height() const { return height + 2 * pad_height - kernel_height + 1; }
  int64_t out_width() const { return width + 2 * pad_width - kernel_width + 1; }
};

// Rows that are summed together, so that as many sums are under way as hide a product's latency.
constexpr int rows_with(int vectors) { return vectors >= 3 ? 3 : vectors == 2 ? 4 : 8; }
constexpr int kMostRows = 8;

// A filter's plane of the output's gradient with zeros around it, as far as the kernel reaches.
struct Plane {
  ptrdiff_t row, before_rows, before_columns, rows;
  explicit Plane(const Convolution& p)
      : row((p.width + kLanes - 1) / kLanes * kLanes + p.pad_width + p.kernel_width - 1),
        before_rows(p.kernel_height - 1),
        before_columns(p.kernel_width - 1),
        rows(p.height + p.pad_height + kMostRows + before_rows) {}
};

// Add one filter's part to rows y to y + R of the result, in `Vectors` vectors of columns from x.
template <int Vectors, int R>
STN_INLINE void add_rows(const Convolution& p, const Plane& plane, const float* padded,
                         const float* weight, ptrdiff_t y, ptrdiff_t x, float* sums, ptrdiff_t row) {
  using V = Floats<kLanes>;
  V sum[R][Vectors];
  for (int r = 0; r < R; r++)
    for (int j = 0; j < Vectors; j++) sum[r][j] = load<V>(sums + (y + r) * row + x + j * kLanes);
  ptrdiff_t low = std::max<ptrdiff_t>(0, y + p.pad_height - p.out_height() + 1);
  ptrdiff_t high = std::min<ptrdiff_t>(p.kernel_height - 1, y + R - 1 + p.pad_height);
  for (ptrdiff_t ky = low; ky <= high; ky++) {
    const float* from = padded + (y + p.pad_height - ky + plane.before_rows) * plane.row + x +
                        p.pad_width + plane.before_columns;
    const float* w = weight + ky * p.kernel_width;
    for (ptrdiff_t kx = 0; kx < p.kernel_width; kx++) {
      V by = splat<kLanes>(w[kx]);
      for (int r = 0; r < R; r++)
        for (int j = 0; j < Vectors; j++)
          sum[r][j] += by * load<V>(from - kx + r * plane.row + j * kLanes);
    }
  }
  for (int r = 0; r < R; r++)
    for (int j = 0; j < Vectors; j++) store(sums + (y + r) * row + x + j * kLanes, sum[r][j]);
}

template <int Vectors>
void add_columns(const Convolution& p, const Plane& plane, const float* padded, const float* weight,
                 ptrdiff_t x, float* sums, ptrdiff_t row) {
  constexpr int R = rows_with(Vectors);
  for (ptrdiff_t y = 0; y < p.height; y += R)
    add_rows<Vectors, R>(p, plane, padded, weight, y, x, sums, row);
}

inline void input_gradient(const Convolution& p, int64_t n) {
  static thread_local Scratch scratch;
  Plane plane(p);
  ptrdiff_t vectors = (p.width + kLanes - 1) / kLanes, row = vectors * kLanes;
  ptrdiff_t rows = p.height + kMostRows, size = plane.rows * plane.row;
  ptrdiff_t total = p.channels * rows * row;
  float* padded = scratch.floats(size + total + plane.row);
  float* sums = padded + size + plane.row;
  std::memset(padded, 0, (size + plane.row + total) * sizeof(float));
  auto gradient = reinterpret_cast<const float*>(p.gradient);
  auto weight = reinterpret_cast<const float*>(p.weight);
  int64_t height = p.out_height(), width = p.out_width();
  for (int64_t f = 0; f < p.filters; f++) {
    for (int64_t y = 0; y < height; y++)
      std::memcpy(padded + (y + plane.before_rows) * plane.row + plane.before_columns,
                  gradient + ((n * p.filters + f) * height + y) * width, width * sizeof(float));
    for (int64_t c = 0; c < p.channels; c++) {
      const float* w = weight + (f * p.channels + c) * p.kernel_height * p.kernel_width;
      float* to = sums + c * rows * row;
      for (ptrdiff_t j = 0; j < vectors; j += 4) {
        ptrdiff_t x = j * kLanes;
        switch (std::min<ptrdiff_t>(4, vectors - j)) {
          case 4: add_columns<4>(p, plane, padded, w, x, to, row); break;
          case 3: add_columns<3>(p, plane, padded, w, x, to, row); break;
          case 2: add_columns<2>(p, plane, padded, w, x, to, row); break;
          default: add_columns<1>(p, plane, padded, w, x, to, row);
        }
      }
    }
  }
  auto result = reinterpret_cast<float*>(p.result) + n * p.channels * p.height * p.width;
  for (int64_t c = 0; c < p.channels; c++)
    for (int64_t y = 0; y < p.height; y++)
      std::memcpy(result + (c * p.height + y) * p.width, sums + (c * rows + y) * row,
                  p.width * sizeof(float));
}

}  // namespace
