// Aligned memory, scratch buffers, and mapping of machine code.
#ifndef IREE_LOCAL_MEMORY_H_
#define IREE_LOCAL_MEMORY_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// 64-byte aligned memory, NULL if there is none.
void* iree_aligned_alloc(size_t bytes);
void iree_aligned_free(void* memory);

// Private memory of one thread; grows, never shrinks.
typedef struct {
  void* memory;
  int64_t bytes;
} iree_scratch;

bool iree_scratch_reserve(iree_scratch* scratch, int64_t bytes);
void iree_scratch_free(iree_scratch* scratch);

// The calling thread's scratch, freed when the thread ends. NULL if out of memory.
iree_scratch* iree_thread_scratch(void);

// Maps `code_bytes` of machine code read-execute, and after `import_offset` bytes the addresses
// in `imports` read-only. Returns NULL and sets errno if the system refuses.
void* iree_code_map(const void* code, size_t code_bytes, size_t import_offset,
                    void* const* imports, size_t import_count);
void iree_code_unmap(void* base, size_t import_offset, size_t import_count);

#endif  // IREE_LOCAL_MEMORY_H_
