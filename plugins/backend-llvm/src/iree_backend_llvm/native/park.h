// Parking: put a thread to sleep until a 32-bit word changes.
#ifndef IREE_LOCAL_PARK_H_
#define IREE_LOCAL_PARK_H_

#include <stdatomic.h>
#include <stdint.h>

// Sleeps while *word == expected; may return early.
void iree_park(_Atomic uint32_t* word, uint32_t expected);

// Wakes up to `count` threads that sleep on `word`.
void iree_unpark(_Atomic uint32_t* word, int count);

// Tells the processor that this is a spin loop.
static inline void iree_relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb" ::: "memory");
#elif defined(__riscv)
  __asm__ volatile(".4byte 0x0100000f" ::: "memory");  // pause, a hint on every core
#else
  __asm__ volatile("" ::: "memory");
#endif
}

#endif  // IREE_LOCAL_PARK_H_
