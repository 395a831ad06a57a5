// What a call is asked to do; `_FIELDS` in library.py names the same fields in the same order.
#pragma once
#include <cstdint>

namespace {

enum Type { kFloat, kBfloat16, kFloat16 };
// kArea: the mean of bilinear readings over the area of an output pixel.
enum Interpolation { kBilinear, kNearest, kBicubic, kArea };
enum Padding { kZeros, kBorder, kReflection };

// All steps are in elements of the tensor, and all tensors but the map have one `type`.
struct Problem {
  int64_t image, image_batch_step, image_channel_step, image_row_step, image_column_step;
  int64_t output, output_batch_step, output_channel_step, output_pixel_step;  // or its gradient
  int64_t image_gradient, gradient_batch_step, gradient_channel_step, gradient_pixel_step;
  int64_t map_, kind, map_batch_step, map_row_step, map_column_step, map_coordinate_step;
  int64_t map_gradient_;
  int64_t fields_, terms;  // what a map of kind kFields is a sum of, (terms, height, width)
  int64_t fill;            // with kZeros: what stands outside instead, a float a channel, or null
  int64_t batch, channels, in_height, in_width, height, width;
  int64_t type, align_corners, interpolation, padding;
  int64_t max_shrink;  // of kArea: how many readings a side of it has, else 1
  int64_t threads;

  template <class T>
  T* map() const {
    return reinterpret_cast<T*>(map_);
  }
  template <class T>
  T* map_gradient() const {
    return reinterpret_cast<T*>(map_gradient_);
  }
  float outside(int64_t channel) const {
    return fill ? reinterpret_cast<const float*>(fill)[channel] : 0;
  }
  const float* fields() const { return reinterpret_cast<const float*>(fields_); }
  // Whether each pixel's channels lie together.
  bool is_by_pixel() const { return channels > 1 && image_channel_step == 1; }
  int64_t pixels() const { return height * width; }
};

// The last two know a source for each point apart.
enum Kind { kAffine, kProjective, kDense, kFields };

}  // namespace
