// The mean over the area of an output pixel, for `Antialiased`: bilinear readings spread over it. The map of
// an image is three, one after the other: its own, and the two sides of the area, by the output's row and
// column.
#pragma once
#include <memory>

#include "coordinates.hpp"

namespace {

struct Area final : Source {
  const Problem& p;
  std::vector<double> weights;  // of the three maps, for each reading
  std::vector<std::unique_ptr<Source>> readings;

  Area(const Problem& p, int64_t n) : p(p) {
    int64_t side = p.max_shrink;
    for (int64_t i = 0; i < side * side; i++)
      for (double weight : {1.0, place(i / side), place(i % side)}) weights.push_back(weight);
    for (int64_t i = 0; i < side * side; i++) {
      const double* weight = weights.data() + kMaps * i;
      if (p.kind == kDense)
        readings.push_back(std::make_unique<Dense>(p, kMaps * n, std::vector(weight, weight + kMaps)));
      else
        readings.push_back(linear(n, weight));
      is_lost |= readings.back()->is_lost;
    }
  }

  // As many sums as a map has, for each reading.
  static int64_t sums(const Problem& p) { return kSums * p.max_shrink * p.max_shrink; }

  // Of the readings at its four corners, between which all others lie.
  template <class Each>
  void over_corners(const Each& each) const {
    size_t last = readings.size() - 1, side = p.max_shrink - 1;
    for (size_t i : {size_t(0), side, last - side, last}) each(*readings[i]);
  }

  void fill(Chunk& k) const override { readings.front()->fill(k); }
  void add(Chunk&, double*, bool) const override {}
  void finish(const double* sums, int64_t n) const override {
    if (p.kind == kDense) return;
    for (int64_t j = 0; j < kMaps; j++) {
      double total[kSums] = {};
      for (size_t i = 0; i < readings.size() * kSums; i++)
        total[i % kSums] += weights[i / kSums * kMaps + j] * sums[i];
      Affine(p).finish(total, kMaps * n + j);
    }
  }

 private:
  static constexpr int64_t kMaps = 3;

  // Evenly in (-1/2, 1/2), but as wide as to have the variance of the whole interval.
  double place(int64_t i) const {
    double n = double(p.max_shrink);
    return ((double(i) + 0.5) / n - 0.5) / std::sqrt(1 - 1 / (n * n));
  }
  std::unique_ptr<Affine> linear(int64_t n, const double* weight) const {
    const float* maps = p.map<const float>() + 6 * kMaps * n;
    double theta[6] = {};
    for (int64_t i = 0; i < 6 * kMaps; i++) theta[i % 6] += weight[i / 6] * maps[i];
    auto found = std::make_unique<Affine>(p);
    found->put(theta);
    return found;
  }
};

// Where a reading sums up, if it does.
inline double* sums_of(double* total, int reading) { return total ? total + reading * kSums : nullptr; }

// `each(source, i)` for all readings of an output pixel, which of most kinds there is one of.
template <Interpolation Kind, class Each>
STN_INLINE void over_readings(const Source& source, const Each& each) {
  if constexpr (Kind == kArea) {
    auto& readings = static_cast<const Area&>(source).readings;
    for (size_t i = 0; i < readings.size(); i++) each(*readings[i], int(i));
  } else {
    each(source, 0);
  }
}

}  // namespace
