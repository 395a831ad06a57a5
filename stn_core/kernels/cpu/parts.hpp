// How a forward pass is divided among threads.
#pragma once
#include "fields.hpp"
#include "window.hpp"

namespace {

// `each(source, n, c, last, first, end)` for parts that together are the whole output: of image n the
// channels from c to `last`, `step` of them or all, and the output pixels from `first` to `end`.
template <class Each>
void in_parts(const Problem& p, int64_t step, const Each& each) {
  // Where each point has a source of its own, it is found once for all channels.
  int64_t groups = p.kind >= kDense ? 1 : (p.channels + step - 1) / step, parts = p.batch * groups;
  // Few images are divided by rows too.
  int64_t bands = std::min<int64_t>(p.height, (p.threads + parts - 1) / parts);
  in_parallel(int(p.threads), parts * bands, [&](int64_t i) {
    int64_t band = i % bands, group = i / bands % groups, n = i / bands / groups;
    int64_t first = p.height * band / bands * p.width, end = p.height * (band + 1) / bands * p.width;
    int64_t last = groups == 1 ? p.channels : (group + 1) * step;
    each(*source_of(p, n, first, end), n, group * step, last, first, end);
  });
}

}  // namespace
