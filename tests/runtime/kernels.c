// Kernels with the entry point ABI of the CPU backend, for the runtime's tests.
#include <math.h>
#include <stdint.h>

#define KERNEL(name)                                                                       \
  void name(void* const* bindings, const int64_t* scalars, void* scratch, int64_t begin,   \
            int64_t end)

KERNEL(add) {
  const float *a = bindings[0], *b = bindings[1];
  float* out = bindings[2];
  for (int64_t i = begin; i < end; ++i) out[i] = a[i] + b[i];
}

KERNEL(add_one) {
  const float* a = bindings[0];
  float* out = bindings[1];
  for (int64_t i = begin; i < end; ++i) out[i] = a[i] + 1;
}

// out[i] = 0 + 1 + ... + (n - 1), through private memory of n numbers.
KERNEL(scratch_sum) {
  int64_t n = scalars[0];
  int64_t *out = bindings[0], *memory = scratch;
  for (int64_t i = begin; i < end; ++i) {
    for (int64_t j = 0; j < n; ++j) memory[j] = j;
    out[i] = ((uintptr_t)memory % 64) ? -1 : 0;
    for (int64_t j = 0; j < n; ++j) out[i] += memory[j];
  }
}

KERNEL(sine) {
  const float* a = bindings[0];
  float* out = bindings[1];
  for (int64_t i = begin; i < end; ++i) out[i] = sinf(a[i]);
}

// out[i] = the first work item of the range that i was done in.
KERNEL(where) {
  int64_t* out = bindings[0];
  for (int64_t i = begin; i < end; ++i) out[i] = begin;
}
