// Threads: those of the OpenMP runtime that torch has loaded, else new ones.
#pragma once
#include <atomic>
#include <cstdlib>
#include <thread>
#include <vector>

#include <dlfcn.h>

namespace {

// Run `task(i)` for all i below count. Which thread runs which is not fixed, so a task must write
// where no other does.
template <class Task>
void in_parallel(int threads, int64_t count, const Task& task) {
  struct Work {
    const Task& task;
    std::atomic<int64_t> next;
    int64_t count;
    static void run(void* self) {
      auto& work = *static_cast<Work*>(self);
      for (int64_t i; (i = work.next.fetch_add(1, std::memory_order_relaxed)) < work.count;)
        work.task(i);
    }
  } work{task, {0}, count};
  if (threads > count) threads = int(count);
  if (threads <= 1) return Work::run(&work);
  using Gomp = void (*)(void (*)(void*), void*, unsigned, unsigned);
  static const auto gomp = reinterpret_cast<Gomp>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  if (gomp) return gomp(Work::run, &work, unsigned(threads), 0);
  std::vector<std::thread> others;
  for (int i = 1; i < threads; i++) others.emplace_back(Work::run, &work);
  Work::run(&work);
  for (auto& other : others) other.join();
}

// Memory that a thread keeps from call to call, for fresh pages cost as much as the work on them.
class Scratch {
 public:
  Scratch() = default;
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { std::free(start_); }

  float* floats(size_t count) {
    if (count > size_ || size_ > kKept) {
      std::free(start_);
      size_ = (count + 1023) / 1024 * 1024;
      start_ = static_cast<float*>(std::aligned_alloc(64, size_ * sizeof(float)));
      if (!start_) {
        size_ = 0;
        throw std::bad_alloc();
      }
    }
    return start_;
  }

 private:
  static constexpr size_t kKept = size_t(16) << 20;
  float* start_ = nullptr;
  size_t size_ = 0;
};

}  // namespace
