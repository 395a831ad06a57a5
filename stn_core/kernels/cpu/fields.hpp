// A map that is the identity and a sum of fields of displacements, the same for all images: each image
// has a factor, of x and of y, for each field.
#pragma once
#include <memory>
#include <vector>

#include "area.hpp"
#include "parallel.hpp"

namespace {

// Source coordinates of some images' pixels, and gradients by them: of several images at once, so that
// a field is read once for all. Each pixel's sum is over the fields in their order, by the same operations
// wherever it stands, so that it depends neither on how an image is divided nor on the others.
class Bends {
 public:
  // Images that share a reading, of which 16 sums fit in registers.
  static constexpr int kImages = 4;

  // Of the pixels from `first` to `end` of `images` images from n on.
  Bends(const Problem& p, int64_t n, int64_t images, int64_t first, int64_t end)
      : p(p), rows(p), n(n), images(images), first(first), count(end - first),
        factors(2 * p.terms * images), lost(images) {
    static thread_local Scratch scratch;
    room = (count + 15) / 16 * 16;
    start = scratch.floats((p.map_gradient_ ? 4 : 2) * room * images);
    for (int64_t i = 0; i < images; i++) {
      const float* given = p.map<const float>() + (n + i) * 2 * p.terms;
      for (int64_t k = 0; k < 2 * p.terms; k++) {
        lost[i] |= !std::isfinite(given[k]);
        factors[k * images + i] = float(given[k] * (k % 2 ? rows.ay.half : rows.ax.half));
      }
    }
    for (int i = 0; i < 2; i++) {
      const Axis& axis = i ? rows.ay : rows.ax;
      rows.m[i][0] = rows.m[i][1] = 0;
      rows.m[i][i] = axis.step * axis.half, rows.m[i][2] = axis.middle;
    }
    Chunk k;
    for (int64_t i = 0; i < count; i += kChunk) {
      k.first = first + i, k.count = int(std::min<int64_t>(kChunk, count - i));
      rows.fill(k);
      images == kImages ? bend<kImages>(k, i) : bend<1>(k, i);
    }
  }

  // 0 and 1: x and y of the pixels; 2 and 3: gradients by them.
  float* plane(int64_t image, int which) const { return start + (which * images + image) * room; }

  // From the gradients by each point, of whole images, to those by the factors.
  void finish() const {
    std::vector<double> totals(2 * p.terms * images);
    for (int64_t i = 0; i < count; i += kBlock) {
      int64_t some = std::min<int64_t>(kBlock, count - i);
      for (int64_t t = 0; t < p.terms; t++) {
        double* to = totals.data() + 2 * t * images;
        images == kImages ? add_products<kImages>(t, i, some, to) : add_products<1>(t, i, some, to);
      }
    }
    for (int64_t i = 0; i < images; i++)
      for (int64_t k = 0; k < 2 * p.terms; k++)
        p.map_gradient<float>()[(n + i) * 2 * p.terms + k] = lost[i] ? 0 : float(totals[k * images + i]);
  }

  const Problem& p;
  Affine rows;
  int64_t n, images, first, count;
  std::vector<float> factors;  // in pixels: of x of the first field for each image, of y, of the next
  std::vector<char> lost;

 private:
  static constexpr int kBlock = 1024;
  int64_t room;
  float* start;

  // To what the chunk holds, the identity, each image's displacements of its pixels, from the i-th on.
  template <int Images>
  void bend(const Chunk& k, int64_t i) const {
    constexpr int kVectors = 2 * kImages / Images;
    for (int64_t from = 0; from < images; from += Images) {
      int j = 0;
      for (; j + kVectors * kLanes <= k.count; j += kVectors * kLanes)
        bend_some<Images, kVectors>(k, i, j, from, kLanes);
      for (; j < k.count; j += kLanes) bend_some<Images, 1>(k, i, j, from, std::min(kLanes, k.count - j));
    }
  }
  // Of the last vector only the first `lanes` have a field.
  template <int Images, int V>
  STN_INLINE void bend_some(const Chunk& k, int64_t i, int j, int64_t from, int lanes) const {
    F sum[2][Images][V] = {};
    const float *field = p.fields() + first + i + j, *factor = factors.data() + from;
    for (int64_t t = 0; t < p.terms; t++, field += p.pixels(), factor += 2 * images) {
      F value[V] = {};
      for (int v = 0; v < V; v++)
        if (V > 1 || lanes == kLanes)
          value[v] = load<F>(field + v * kLanes);
        else
          std::memcpy(&value[v], field, lanes * sizeof(float));
      for (int a = 0; a < 2; a++)
        for (int m = 0; m < Images; m++)
          for (int v = 0; v < V; v++) sum[a][m][v] += value[v] * splat<kLanes>(factor[a * images + m]);
    }
    for (int m = 0; m < Images; m++)
      for (int v = 0; v < V; v++) {
        put(plane(from + m, 0) + i + j + v * kLanes, load<F>(k.x + j + v * kLanes) + sum[0][m][v], lanes);
        put(plane(from + m, 1) + i + j + v * kLanes, load<F>(k.y + j + v * kLanes) + sum[1][m][v], lanes);
      }
  }
  static STN_INLINE void put(float* to, F value, int lanes) {
    if (lanes == kLanes)
      store(to, value);
    else
      std::memcpy(to, &value, lanes * sizeof(float));
  }

  template <int Images>
  void add_products(int64_t t, int64_t i, int64_t some, double* totals) const {
    const float* field = p.fields() + t * p.pixels() + first + i;
    for (int64_t from = 0; from < images; from += Images) {
      F sum[2][Images][2] = {};
      const float* by[2][Images];
      for (int a = 0; a < 2; a++)
        for (int m = 0; m < Images; m++) by[a][m] = plane(from + m, 2 + a) + i;
      int64_t j = 0;
      for (; j + 2 * kLanes <= some; j += 2 * kLanes)
        for (int v = 0; v < 2; v++) {
          F value = load<F>(field + j + v * kLanes);
          for (int a = 0; a < 2; a++)
            for (int m = 0; m < Images; m++) sum[a][m][v] += value * load<F>(by[a][m] + j + v * kLanes);
        }
      for (int a = 0; a < 2; a++)
        for (int m = 0; m < Images; m++) {
          double& total = totals[a * images + from + m];
          for (int v = 0; v < 2; v++) total += sum_of(sum[a][m][v]);
          for (int64_t last = j; last < some; last++) total += double(field[last]) * by[a][m][last];
        }
    }
  }
  static STN_INLINE float sum_of(F x) { return sum<kLanes>(x); }
};

// Of one of the images.
struct Fields final : Source {
  const Bends& bends;
  int64_t image;

  Fields(const Bends& bends, int64_t image) : bends(bends), image(image) { is_lost = bends.lost[image]; }

  void fill(Chunk& k) const override {
    std::memcpy(k.x, bends.plane(image, 0) + k.first - bends.first, k.count * sizeof(float));
    std::memcpy(k.y, bends.plane(image, 1) + k.first - bends.first, k.count * sizeof(float));
    find_lost(k);
  }
  void add(Chunk& k, double*, bool is_first) const override {
    Dense::put_row(k, k.dx, bends.rows.ax.half, bends.plane(image, 2) + k.first - bends.first, is_first);
    Dense::put_row(k, k.dy, bends.rows.ay.half, bends.plane(image, 3) + k.first - bends.first, is_first);
  }
  void finish(const double*, int64_t) const override {}
};

// The source of image n, where it is not of fields.
inline std::unique_ptr<Source> source_of(const Problem& p, int64_t n) {
  if (p.interpolation == kArea) return std::make_unique<Area>(p, n);
  if (p.kind == kAffine) return std::make_unique<Affine>(p, n);
  if (p.kind == kProjective) return std::make_unique<Projective>(p, n);
  return std::make_unique<Dense>(p, n);
}

}  // namespace
