// A map that is the identity and a sum of fields of displacements, the same for all images: each image
// has a factor, of x and of y, for each field.
#pragma once
#include <memory>
#include <vector>

#include "coordinates.hpp"
#include "parallel.hpp"

namespace {

// Each pixel's sum is over the fields in their order, by the same operations wherever it stands in a
// vector, so that it does not depend on how an image is divided.
struct Fields final : Source {
  static constexpr int kVectors = 4, kBlock = 1024;
  const Problem& p;
  Affine rows;
  int64_t n, first;
  std::vector<float> factors;  // in pixels: x and y of the first field, of the next, and so on
  float *x, *y;                // source coordinates of the pixels from `first` on
  float *dx = nullptr, *dy = nullptr;

  Fields(const Problem& p, int64_t n, int64_t first, int64_t end)
      : p(p), rows(p), n(n), first(first), factors(2 * p.terms) {
    static thread_local Scratch scratch;
    const float* given = p.map<const float>() + n * 2 * p.terms;
    for (int64_t k = 0; k < 2 * p.terms; k++) {
      is_lost |= !std::isfinite(given[k]);
      factors[k] = float(given[k] * (k % 2 ? rows.ay.half : rows.ax.half));
    }
    int64_t count = end - first, room = p.map_gradient_ ? 4 : 2;
    x = scratch.floats(room * count), y = x + count;
    if (p.map_gradient_) dx = y + count, dy = dx + count;
    if (is_lost) return;
    for (int i = 0; i < 2; i++) {
      const Axis& axis = i ? rows.ay : rows.ax;
      rows.m[i][0] = rows.m[i][1] = 0;
      rows.m[i][i] = axis.step * axis.half, rows.m[i][2] = axis.middle;
    }
    Chunk k;
    for (int64_t i = first; i < end; i += kChunk) {
      k.first = i, k.count = int(std::min<int64_t>(kChunk, end - i));
      rows.fill(k);
      bend(k);
      std::memcpy(x + i - first, k.x, k.count * sizeof(float));
      std::memcpy(y + i - first, k.y, k.count * sizeof(float));
    }
  }

  void fill(Chunk& k) const override {
    std::memcpy(k.x, x + k.first - first, k.count * sizeof(float));
    std::memcpy(k.y, y + k.first - first, k.count * sizeof(float));
    find_lost(k);
  }

  void add(Chunk& k, double*, bool is_first) const override {
    Dense::put_row(k, k.dx, rows.ax.half, dx + k.first - first, is_first);
    Dense::put_row(k, k.dy, rows.ay.half, dy + k.first - first, is_first);
  }

  // From the gradient by each point, of a whole image, to that by the factors.
  void finish(const double*, int64_t) const override {
    std::vector<double> totals(2 * p.terms);
    int64_t pixels = is_lost ? 0 : p.pixels();
    for (int64_t i = 0; i < pixels; i += kBlock) {
      int64_t count = std::min<int64_t>(kBlock, pixels - i);
      for (int64_t k = 0; k < p.terms; k++) {
        const float* field = p.fields() + k * p.pixels() + i;
        add_products(field, dx + i, dy + i, count, totals.data() + 2 * k);
      }
    }
    std::copy(totals.begin(), totals.end(), p.map_gradient<float>() + n * 2 * p.terms);
  }

 private:
  void bend(Chunk& k) const {
    constexpr int kStep = kVectors * kLanes;
    const float* field = p.fields() + k.first;
    int i = 0;
    for (; i + kStep <= k.count; i += kStep) bend_some<kVectors>(k, field, i, kLanes);
    for (; i < k.count; i += kLanes) bend_some<1>(k, field, i, std::min(kLanes, k.count - i));
  }
  // Of the last vector only the first `lanes` have a field.
  template <int V>
  STN_INLINE void bend_some(Chunk& k, const float* field, int i, int lanes) const {
    F sum_x[V] = {}, sum_y[V] = {};
    field += i;
    for (int64_t t = 0; t < p.terms; t++, field += p.pixels()) {
      F by_x = splat<kLanes>(factors[2 * t]), by_y = splat<kLanes>(factors[2 * t + 1]);
      for (int j = 0; j < V; j++) {
        F value{};
        if (V > 1 || lanes == kLanes)
          value = load<F>(field + j * kLanes);
        else
          std::memcpy(&value, field, lanes * sizeof(float));
        sum_x[j] += value * by_x, sum_y[j] += value * by_y;
      }
    }
    for (int j = 0; j < V; j++) {
      add_to(k.x + i + j * kLanes, sum_x[j]);
      add_to(k.y + i + j * kLanes, sum_y[j]);
    }
  }

  static void add_products(const float* field, const float* dx, const float* dy, int64_t count,
                           double* totals) {
    F sum_x[kVectors] = {}, sum_y[kVectors] = {};
    int64_t i = 0;
    for (; i + kVectors * kLanes <= count; i += kVectors * kLanes)
      for (int j = 0; j < kVectors; j++) {
        F value = load<F>(field + i + j * kLanes);
        sum_x[j] += value * load<F>(dx + i + j * kLanes);
        sum_y[j] += value * load<F>(dy + i + j * kLanes);
      }
    for (int j = 0; j < kVectors; j++)
      totals[0] += sum<kLanes>(sum_x[j]), totals[1] += sum<kLanes>(sum_y[j]);
    for (; i < count; i++)
      totals[0] += double(field[i]) * dx[i], totals[1] += double(field[i]) * dy[i];
  }
};

// The source of the pixels from `first` to `end` of image n.
inline std::unique_ptr<Source> source_of(const Problem& p, int64_t n, int64_t first, int64_t end) {
  if (p.kind == kAffine) return std::make_unique<Affine>(p, n);
  if (p.kind == kProjective) return std::make_unique<Projective>(p, n);
  if (p.kind == kDense) return std::make_unique<Dense>(p, n);
  return std::make_unique<Fields>(p, n, first, end);
}

}  // namespace
