// Runs the threads of a threadgroup as fibers that take turns at barriers.
#pragma once
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

namespace shim {

constexpr unsigned SIMD = 32;
constexpr size_t STACK = 128 << 10;
constexpr unsigned MOST_THREADS = 1024;

enum class Place { start, simdgroup, barrier, end };

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  Place where = Place::end;
};

struct Group {
  ucontext_t scheduler;
  std::vector<Fiber> fibers;
  const std::function<void(unsigned)>* body = nullptr;
  unsigned current = 0;
  alignas(16) char slots[2][MOST_THREADS][16];
  unsigned turn[MOST_THREADS];
};

inline Group& group() {
  static Group only;
  return only;
}

inline unsigned lane() { return group().current % SIMD; }

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "Metal shim: %s\n", what);
  std::abort();
}

inline void wait(Place where) {
  Group& g = group();
  if (g.body == nullptr) fail("threads wait for each other in a kernel that was run one by one");
  Fiber& own = g.fibers[g.current];
  own.where = where;
  swapcontext(&own.context, &g.scheduler);
}

inline void barrier() { wait(Place::barrier); }

// Every thread of a simdgroup must get here, as Metal requires.
inline void check_together() { wait(Place::simdgroup); }

// Each thread of a simdgroup gets the value of another. Two sets of slots take turns, so that
// nobody overwrites what is still to be read.
template <typename T, typename From> T exchange(T value, From from) {
  static_assert(sizeof(T) <= 16, "a lane holds at most 16 bytes");
  Group& g = group();
  const unsigned self = g.current, side = g.turn[self]++ % 2;
  std::memcpy(g.slots[side][self], &value, sizeof value);
  wait(Place::simdgroup);
  std::memcpy(&value, g.slots[side][self / SIMD * SIMD + from(self % SIMD)], sizeof value);
  return value;
}

inline void enter() {
  Group& g = group();
  (*g.body)(g.current);
  g.fibers[g.current].where = Place::end;
  swapcontext(&g.fibers[g.current].context, &g.scheduler);
}

inline void resume(unsigned first, unsigned last) {
  Group& g = group();
  for (unsigned i = first; i < last; ++i) {
    g.current = i;
    swapcontext(&g.scheduler, &g.fibers[i].context);
  }
}

// Lets simdgroups go on whose threads all wait for each other, or, where none does, everybody
// who waits at a barrier. Returns false when nothing is left to do.
inline bool step(unsigned threads) {
  Group& g = group();
  bool moved = false, waiting = true;
  for (unsigned first = 0; first < threads; first += SIMD) {
    const unsigned last = first + SIMD < threads ? first + SIMD : threads;
    const Place where = g.fibers[first].where;
    for (unsigned i = first; i < last; ++i) {
      if (g.fibers[i].where != where) fail("threads of a simdgroup diverge");
    }
    waiting = waiting && where == Place::barrier;
    if (where == Place::start || where == Place::simdgroup) {
      resume(first, last);
      moved = true;
    }
  }
  if (waiting) resume(0, threads);
  return moved || waiting;
}

// Runs body(0) .. body(threads - 1) together.
inline void run_together(unsigned threads, const std::function<void(unsigned)>& body) {
  Group& g = group();
  if (g.fibers.size() < threads) g.fibers.resize(threads);
  g.body = &body;
  for (unsigned i = 0; i < threads; ++i) {
    Fiber& fiber = g.fibers[i];
    if (!fiber.stack) fiber.stack.reset(new char[STACK]);
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = STACK;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, enter, 0);
    fiber.where = Place::start;
    g.turn[i] = 0;
  }
  while (step(threads)) {
  }
  for (unsigned i = 0; i < threads; ++i) {
    if (g.fibers[i].where != Place::end) fail("some threads ended while others wait");
  }
  g.body = nullptr;
}

struct Pointer {
  void* value;
  template <typename T> operator T*() const { return static_cast<T*>(value); }
};

}  // namespace shim
