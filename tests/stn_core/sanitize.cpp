// Random problems for the kernels, in buffers of just their size, under the compiler's sanitizers.
#include <cstdio>
#include <random>

#include "warp.cpp"

namespace {

std::mt19937 generator;
int64_t pick(int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(generator);
}
float normal() { return std::normal_distribution<float>()(generator); }

// On the heap, so that a step outside is seen.
struct Buffer {
  std::vector<char> bytes;
  Buffer(int64_t count, int64_t type) : bytes(count * (type == kFloat ? 4 : 2)) {
    for (int64_t i = 0; i < count; i++) {
      if (type == kFloat) store_float(reinterpret_cast<float*>(bytes.data()) + i, normal());
      if (type == kBfloat16) store_float(reinterpret_cast<Bfloat16*>(bytes.data()) + i, normal());
      if (type == kFloat16) store_float(reinterpret_cast<Float16*>(bytes.data()) + i, normal());
    }
  }
  int64_t start() { return reinterpret_cast<int64_t>(bytes.data()); }
};

void warp_once() {
  Problem p{};
  int64_t side = pick(0, 3) ? 12 : pick(0, 3) ? 40 : 150;
  p.batch = pick(1, 6), p.channels = pick(1, 18);
  p.in_height = pick(1, side), p.in_width = pick(1, side);
  p.height = pick(1, side), p.width = pick(1, side);
  p.type = pick(0, 2), p.kind = pick(0, 3), p.interpolation = pick(0, 3), p.padding = pick(0, 2);
  p.max_shrink = p.interpolation == kArea ? pick(2, 4) : 1;
  // Of each image a map and its two sides, of a matrix or of points.
  int64_t maps = p.interpolation == kArea ? 3 : 1;
  if (maps > 1) p.kind = pick(0, 1) ? kAffine : kDense;
  p.align_corners = pick(0, 1), p.threads = pick(1, 3);
  int64_t in = p.in_height * p.in_width, out = p.pixels();
  bool is_last = pick(0, 1) && p.channels > 1;
  // Rows may be apart, and the last one ends with its last pixel.
  int64_t between = pick(0, 2) ? 0 : pick(1, 5), row = p.in_width + between, area = p.in_height * row;
  int64_t apart = between * (is_last ? p.channels : 1);
  Buffer image(p.batch * p.channels * area - apart, p.type), output(p.batch * p.channels * out, p.type);
  Buffer image_gradient(p.batch * p.channels * in, p.type);
  p.terms = pick(1, 6);
  int64_t sizes[] = {6, 9, 2 * out, 2 * p.terms}, parameters = sizes[p.kind];
  Buffer fields(p.terms * out, kFloat);
  p.fields_ = fields.start();
  Buffer fill(p.channels, kFloat);
  if (p.padding == kZeros && pick(0, 1)) p.fill = fill.start();
  Buffer map(p.batch * maps * parameters, kFloat), map_gradient(p.batch * maps * parameters, kFloat);
  auto theta = reinterpret_cast<float*>(map.bytes.data());
  float scale = pick(0, 4) ? 1 : pick(0, 1) ? 1e6f : 1e38f;
  // Turned by little, so that wide outputs are read row by row.
  bool is_level = p.kind == kAffine && pick(0, 1);
  for (int64_t i = 0; i < p.batch * maps * parameters; i++) {
    theta[i] *= scale;
    if (is_level) theta[i] = i % 6 == 0 || i % 6 == 4 ? 0.02f + std::fabs(theta[i]) : 0.02f * theta[i];
    if (pick(0, 199) == 0) theta[i] = pick(0, 1) ? NAN : INFINITY;
  }
  p.image = image.start(), p.output = output.start(), p.map_ = map.start();
  p.image_batch_step = p.channels * area, p.image_row_step = row * (is_last ? p.channels : 1);
  p.image_channel_step = is_last ? 1 : area, p.image_column_step = is_last ? p.channels : 1;
  p.output_batch_step = p.channels * out;
  p.output_channel_step = is_last ? 1 : out, p.output_pixel_step = is_last ? p.channels : 1;
  p.gradient_batch_step = p.channels * in;
  p.gradient_channel_step = is_last ? 1 : in, p.gradient_pixel_step = is_last ? p.channels : 1;
  p.map_batch_step = parameters;
  bool is_planar = pick(0, 1);
  p.map_row_step = p.width * (is_planar ? 1 : 2), p.map_column_step = is_planar ? 1 : 2;
  p.map_coordinate_step = is_planar ? out : 1;
  stn_warp(&p);
  if (pick(0, 2)) p.image_gradient = image_gradient.start();
  if (p.interpolation != kNearest && pick(0, 2)) p.map_gradient_ = map_gradient.start();
  if (p.image_gradient || p.map_gradient_) stn_warp_backward(&p);
}

void convolve_once() {
  Convolution p{};
  p.batch = pick(1, 2), p.channels = pick(1, 4), p.filters = pick(1, 3), p.threads = pick(1, 2);
  p.kernel_height = pick(1, 6), p.kernel_width = pick(1, 6);
  p.pad_height = pick(0, p.kernel_height - 1), p.pad_width = pick(0, p.kernel_width - 1);
  p.height = pick(p.kernel_height, 40), p.width = pick(p.kernel_width, 80);
  Buffer gradient(p.batch * p.filters * p.out_height() * p.out_width(), kFloat);
  Buffer weight(p.filters * p.channels * p.kernel_height * p.kernel_width, kFloat);
  Buffer result(p.batch * p.channels * p.height * p.width, kFloat);
  p.gradient = gradient.start(), p.weight = weight.start(), p.result = result.start();
  stn_convolution_input_gradient(&p);
}

}  // namespace

int main(int, char** words) {
  int count = std::atoi(words[1]);
  for (int seed = 0; seed < count; seed++) {
    generator.seed(seed);
    seed % 4 ? warp_once() : convolve_once();
  }
  std::printf("%d problems\n", count);
}
