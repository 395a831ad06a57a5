// Where each output pixel is read: source coordinates in pixels, a chunk of output pixels at a time,
// and, backwards, the gradient of the map from the gradients of those coordinates.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "problem.hpp"
#include "vector.hpp"

namespace {

constexpr int kChunk = 256;
using F = Floats<kLanes>;
using I = Ints<kLanes>;

// Buffers for a chunk, with room for what whole vectors write beyond its end.
struct Chunk {
  static constexpr int kRoom = kChunk + 16;
  alignas(64) float x[kRoom], y[kRoom];            // source coordinates, kept as they came
  alignas(64) float inverse_z[kRoom];              // projective maps only
  alignas(64) float fx[kRoom], fy[kRoom];          // where in its cell the point lies
  alignas(64) float moves_x[kRoom], moves_y[kRoom];  // 0 where the coordinate was clamped
  alignas(64) int32_t cell[kRoom];                 // which cell of the window
  alignas(64) float dx[kRoom], dy[kRoom];          // gradients
  bool is_lost[kRoom];
  bool any_lost;
  int64_t first;
  int count;
};

// One axis of the image beside the same axis of the output. A coordinate is `normal * half + middle`
// pixels, an output pixel lies at `(index - out_middle) * step` normalised.
struct Axis {
  double half, middle, step, out_middle;
  Axis(int64_t size, int64_t out_size, bool align_corners)
      : half(double(align_corners ? size - 1 : size) / 2),
        middle(double(size - 1) / 2),
        step(2.0 / double(std::max<int64_t>(align_corners ? out_size - 1 : out_size, 1))),
        out_middle(double(out_size - 1) / 2) {}
};

inline double bounded(double x) { return std::clamp(x, -1e30, 1e30); }

// How many sums over the output's pixels the gradient of a map with few parameters is made of.
constexpr int kSums = 9;

// A map from output pixels to source coordinates.
struct Source {
  bool is_lost = false;  // no point of the image has a source
  virtual ~Source() = default;
  // The source coordinates, and which are lost, of the pixels from k.first on.
  virtual void fill(Chunk& k) const = 0;
  // Take in k.dx and k.dy, which it may change: into `sums`, or into a gradient for each point, on
  // top of what is there but for the first channels.
  virtual void add(Chunk& k, double* sums, bool is_first) const = 0;
  // From sums to the gradient by the parameters.
  virtual void finish(const double* sums, int64_t n) const = 0;
};

// A linear map, in pixels: theta (2, 3) for target points (x, y, 1).
struct Affine final : Source {
  const Problem& p;
  Axis ax, ay;
  double m[2][3];
  int64_t out_width;

  Affine(const Problem& p, int64_t n) : Affine(p) { put(p.map<const float>() + n * 6); }
  // From theta.
  template <class T>
  void put(const T* theta) {
    for (int i = 0; i < 6; i++) is_lost |= !std::isfinite(theta[i]);
    for (int i = 0; i < 2; i++) {
      double half = i ? ay.half : ax.half, middle = i ? ay.middle : ax.middle;
      m[i][0] = bounded(theta[3 * i] * ax.step * half);
      m[i][1] = bounded(theta[3 * i + 1] * ay.step * half);
      m[i][2] = bounded(theta[3 * i + 2] * half + middle);
    }
  }

  explicit Affine(const Problem& p)
      : p(p),
        ax(p.in_width, p.width, p.align_corners),
        ay(p.in_height, p.height, p.align_corners),
        out_width(p.width) {}

  // `each(i, column, rows)` for the chunk's pixels from i on: how far they are from the middle column, and
  // the last two of each of `by` times (how far from the middle row, 1), rounded once.
  template <size_t N, class Each>
  STN_INLINE void over_places(const Chunk& k, const double* const (&by)[N], Each each) const {
    int64_t row = k.first / out_width, at = k.first % out_width;
    F rows[N], counts = count_up<kLanes>();
    auto row_of = [&](size_t j) {
      return splat<kLanes>(float(by[j][1] * (double(row) - ay.out_middle) + by[j][2]));
    };
    for (size_t j = 0; j < N; j++) rows[j] = row_of(j);
    for (int i = 0; i < k.count; i += kLanes) {
      F column = splat<kLanes>(float(at - ax.out_middle)) + counts, here[N];
      for (size_t j = 0; j < N; j++) here[j] = rows[j];
      at += kLanes;
      for (; at >= out_width; at -= out_width) {
        row++;
        for (size_t j = 0; j < N; j++) rows[j] = row_of(j);
        auto is_next = counts >= splat<kLanes>(float(kLanes - (at - out_width)));
        column = is_next ? column - float(out_width) : column;
        for (size_t j = 0; j < N; j++) here[j] = is_next ? rows[j] : here[j];
      }
      each(i, column, here);
    }
  }

  void fill(Chunk& k) const override {
    k.any_lost = false;
    F step_x = splat<kLanes>(float(m[0][0])), step_y = splat<kLanes>(float(m[1][0]));
    const double* by[] = {m[0], m[1]};
    over_places(k, by, [&](int i, F column, const F (&rows)[2]) {
      store(k.x + i, step_x * column + rows[0]);
      store(k.y + i, step_y * column + rows[1]);
    });
  }

  // At least what the rounding of floats makes of a coordinate.
  double rounding(int i) const {
    double most = std::fabs(m[i][0]) * double(p.width) + std::fabs(m[i][1]) * double(p.height);
    return 1e-6 * (most + std::fabs(m[i][2])) + 1e-3;
  }

  // Sums of the gradient of a coordinate times column, line and 1.
  void add(Chunk& k, double* sums, bool) const override {
    const float* rows[] = {k.dx, k.dy};
    add_rows(k, rows, sums);
  }
  template <size_t N>
  void add_rows(const Chunk& k, const float* const (&by)[N], double* total) const {
    F sums[N][3] = {};
    const double line[] = {0, 1, 0}, *lines[] = {line};
    over_places(k, lines, [&](int i, F column, const F (&rows)[1]) {
      for (size_t j = 0; j < N; j++) {
        F d = load<F>(by[j] + i);
        sums[j][0] += d * column;
        sums[j][1] += d * rows[0];
        sums[j][2] += d;
      }
    });
    for (size_t j = 0; j < 3 * N; j++) total[j] += sum<kLanes>(sums[j / 3][j % 3]);
  }
  void finish(const double* sums, int64_t n) const override {
    float* gradient = p.map_gradient<float>() + n * 6;
    for (int i = 0; i < 2; i++) finish_row(sums + 3 * i, i ? ay.half : ax.half, gradient + 3 * i);
  }
  void finish_row(const double* total, double half, float* gradient) const {
    gradient[0] = float(total[0] * half * ax.step);
    gradient[1] = float(total[1] * half * ay.step);
    gradient[2] = float(total[2] * half);
  }
};

// A homography (3, 3), divided by its last coordinate, which near 0 leaves no point.
struct Projective final : Source {
  static constexpr float kHorizon = 1e-6f;
  Affine rows;
  double last[3];

  Projective(const Problem& p, int64_t n) : rows(p) {
    const float* theta = p.map<const float>() + n * 9;
    for (int i = 0; i < 9; i++) is_lost |= !std::isfinite(theta[i]);
    const Axis &ax = rows.ax, &ay = rows.ay;
    for (int i = 0; i < 3; i++) {
      double half = i == 2 ? 1 : i ? ay.half : ax.half;
      double* row = i == 2 ? last : rows.m[i];
      row[0] = bounded(theta[3 * i] * ax.step * half);
      row[1] = bounded(theta[3 * i + 1] * ay.step * half);
      row[2] = bounded(theta[3 * i + 2] * half);
    }
  }

  void fill(Chunk& k) const override {
    rows.fill(k);
    F step_z = splat<kLanes>(float(last[0]));
    const double* by[] = {last};
    rows.over_places(k, by, [&](int i, F column, const F (&z)[1]) {
      store(k.inverse_z + i, step_z * column + z[0]);
    });
    F middle_x = splat<kLanes>(float(rows.ax.middle)), middle_y = splat<kLanes>(float(rows.ay.middle));
    for (int i = 0; i < k.count; i += kLanes) {
      F z = load<F>(k.inverse_z + i), nan = splat<kLanes>(NAN);
      auto far = (z < kHorizon) & (z > -kHorizon);
      F inverse = far ? F{} : 1.0f / z;
      store(k.inverse_z + i, inverse);
      store(k.x + i, far ? nan : load<F>(k.x + i) * inverse + middle_x);
      store(k.y + i, far ? nan : load<F>(k.y + i) * inverse + middle_y);
    }
    for (int i = 0; i < k.count; i++) {
      k.is_lost[i] = !(std::fabs(k.x[i]) < INFINITY && std::fabs(k.y[i]) < INFINITY);
      k.any_lost |= k.is_lost[i];
    }
  }

  void add(Chunk& k, double* sums, bool) const override {
    alignas(64) float by_z[Chunk::kRoom];
    F middle_x = splat<kLanes>(float(rows.ax.middle)), middle_y = splat<kLanes>(float(rows.ay.middle));
    for (int i = 0; i < k.count; i += kLanes) {
      F dx = load<F>(k.dx + i), dy = load<F>(k.dy + i), inverse = load<F>(k.inverse_z + i);
      // A lost point has no gradient, but a NaN for coordinates.
      F x = dx == 0 ? F{} : load<F>(k.x + i) - middle_x, y = dy == 0 ? F{} : load<F>(k.y + i) - middle_y;
      store(by_z + i, -(dx * x + dy * y) * inverse);
      store(k.dx + i, dx * inverse);
      store(k.dy + i, dy * inverse);
    }
    const float* all[] = {k.dx, k.dy, by_z};
    rows.add_rows(k, all, sums);
  }
  void finish(const double* sums, int64_t n) const override {
    float* gradient = rows.p.map_gradient<float>() + n * 9;
    for (int i = 0; i < 3; i++)
      rows.finish_row(sums + 3 * i, i == 2 ? 1 : i ? rows.ay.half : rows.ax.half, gradient + 3 * i);
  }
};

// Which coordinates of a chunk are not finite, and some number for what its last vector holds beyond.
inline void find_lost(Chunk& k) {
  for (int i = k.count; i % kLanes; i++) k.x[i] = k.x[i - 1], k.y[i] = k.y[i - 1];
  I lost{};
  F limit = splat<kLanes>(INFINITY);
  for (int i = 0; i < k.count; i += kLanes) {
    F x = load<F>(k.x + i), y = load<F>(k.y + i);
    lost |= ~((x < limit) & (x > -limit) & (y < limit) & (y > -limit));
  }
  k.any_lost = false;
  for (int i = 0; i < kLanes; i++) k.any_lost |= lost[i] != 0;
  if (k.any_lost)
    for (int i = 0; i < k.count; i++)
      k.is_lost[i] = !(std::fabs(k.x[i]) < INFINITY && std::fabs(k.y[i]) < INFINITY);
}

// A dense grid of normalised points, with a gradient for each; or a weighted sum of several, one after the
// other, of which the first one's weight is 1.
struct Dense final : Source {
  const Problem& p;
  Axis ax, ay;
  std::vector<double> weights;
  const float* points;
  float* gradient;

  Dense(const Problem& p, int64_t n, std::vector<double> weights = {1})
      : p(p),
        ax(p.in_width, p.width, p.align_corners),
        ay(p.in_height, p.height, p.align_corners),
        weights(std::move(weights)),
        points(p.map<const float>() + n * p.map_batch_step),
        gradient(p.map_gradient<float>() + n * 2 * p.pixels()) {}

  void fill(Chunk& k) const override {
    read<false>(k, 0);
    for (size_t j = 1; j < weights.size(); j++) read<true>(k, j);
    find_lost(k);
  }
  // A grid, into the chunk's coordinates or on top of them.
  template <bool Adds>
  void read(Chunk& k, size_t j) const {
    float half_x = float(weights[j] * ax.half), half_y = float(weights[j] * ay.half);
    float middle_x = float(ax.middle), middle_y = float(ay.middle);
    int64_t row = k.first / p.width, column = k.first % p.width;
    for (int at = 0; at < k.count; row++, column = 0) {
      int count = int(std::min<int64_t>(p.width - column, k.count - at));
      const float* from = points + j * p.map_batch_step + row * p.map_row_step + column * p.map_column_step;
      float *x = k.x + at, *y = k.y + at;
      auto put = [&](ptrdiff_t step) {
        const float* from_y = from + p.map_coordinate_step;
        for (int i = 0; i < count; i++) x[i] = from[i * step] * half_x + (Adds ? x[i] : middle_x);
        for (int i = 0; i < count; i++) y[i] = from_y[i * step] * half_y + (Adds ? y[i] : middle_y);
      };
      if (p.map_column_step == 1)
        put(1);
      else
        put(p.map_column_step);
      at += count;
    }
  }

  void add(Chunk& k, double*, bool is_first) const override {
    for (size_t j = 0; j < weights.size(); j++) {
      float* to = gradient + 2 * j * p.pixels() + k.first;
      put_row(k, k.dx, weights[j] * ax.half, to, is_first);
      put_row(k, k.dy, weights[j] * ay.half, to + p.pixels(), is_first);
    }
  }
  void finish(const double*, int64_t) const override {}
  static void put_row(const Chunk& k, const float* by, double half, float* to, bool is_first) {
    float scale = float(half);
    if (is_first)
      for (int i = 0; i < k.count; i++) to[i] = by[i] * scale;
    else
      for (int i = 0; i < k.count; i++) to[i] += by[i] * scale;
  }
};

inline void start(const Source& source, Chunk& k, int64_t first, int64_t end) {
  k.first = first;
  k.count = int(std::min<int64_t>(kChunk, end - first));
  source.fill(k);
}

}  // namespace
