// How the work is divided among threads.
#pragma once
#include "fields.hpp"

namespace {

// `each(source, n, first, end)` for all images, where each point has a source of its own: of image n the
// output's pixels from `first` to `end`, all or, if `is_divided`, those of a band of rows. Then, if
// `does_finish`, the gradient by the map.
template <class Each>
void in_images(const Problem& p, bool is_divided, bool does_finish, const Each& each) {
  // Few images are divided; many, of fields, are taken several at once.
  int64_t together = p.kind == kFields && p.batch >= Bends::kImages * p.threads &&
                             p.pixels() < (int64_t(1) << 18) ? Bends::kImages : 1;
  int64_t groups = (p.batch + together - 1) / together;
  int64_t bands = is_divided ? std::min<int64_t>(p.height, (p.threads + groups - 1) / groups) : 1;
  in_parallel(int(p.threads), groups * bands, [&](int64_t i) {
    int64_t band = i % bands, n = i / bands * together;
    int64_t first = p.height * band / bands * p.width, end = p.height * (band + 1) / bands * p.width;
    if (p.kind == kFields) {
      Bends bends(p, n, std::min(together, p.batch - n), first, end);
      for (int64_t j = 0; j < bends.images; j++) each(Fields(bends, j), n + j, first, end);
      if (does_finish) bends.finish();
    } else {
      auto source = source_of(p, n);
      each(*source, n, first, end);
      if (does_finish) source->finish(nullptr, n);
    }
  });
}

// `each(source, n, c, last, first, end)` for parts that together are the whole output: of image n the
// channels from c to `last`, `step` of them or all, and the output pixels from `first` to `end`.
template <class Each>
void in_parts(const Problem& p, int64_t step, const Each& each) {
  if (p.kind >= kDense) {
    // Where each point has a source of its own, it is found once for all channels.
    in_images(p, true, false, [&](const Source& source, int64_t n, int64_t first, int64_t end) {
      each(source, n, 0, p.channels, first, end);
    });
    return;
  }
  int64_t groups = (p.channels + step - 1) / step, parts = p.batch * groups;
  // Few images are divided by rows too.
  int64_t bands = std::min<int64_t>(p.height, (p.threads + parts - 1) / parts);
  in_parallel(int(p.threads), parts * bands, [&](int64_t i) {
    int64_t band = i % bands, group = i / bands % groups, n = i / bands / groups;
    int64_t first = p.height * band / bands * p.width, end = p.height * (band + 1) / bands * p.width;
    int64_t last = std::min((group + 1) * step, p.channels);
    each(*source_of(p, n), n, group * step, last, first, end);
  });
}

}  // namespace
