// Aligned memory, scratch buffers, and mapping of machine code.
#define _GNU_SOURCE
#include "memory.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ALIGNMENT = 64 };

#ifndef MAP_ANONYMOUS
#define MAP_ANONYMOUS MAP_ANON
#endif

void* iree_aligned_alloc(size_t bytes) {
  void* memory = NULL;
  return posix_memalign(&memory, ALIGNMENT, bytes ? bytes : 1) == 0 ? memory : NULL;
}

void iree_aligned_free(void* memory) { free(memory); }

bool iree_scratch_reserve(iree_scratch* scratch, int64_t bytes) {
  if (bytes <= scratch->bytes) return true;
  void* memory = iree_aligned_alloc((size_t)bytes);
  if (!memory) return false;
  free(scratch->memory);
  *scratch = (iree_scratch){memory, bytes};
  return true;
}

void iree_scratch_free(iree_scratch* scratch) {
  free(scratch->memory);
  *scratch = (iree_scratch){0};
}

static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;
static pthread_key_t scratch_key;
static int scratch_error;

static void end_thread(void* value) {
  iree_scratch_free(value);
  free(value);
}

static void make_key(void) { scratch_error = pthread_key_create(&scratch_key, end_thread); }

iree_scratch* iree_thread_scratch(void) {
  pthread_once(&scratch_once, make_key);
  if (scratch_error) return NULL;
  iree_scratch* scratch = pthread_getspecific(scratch_key);
  if (scratch) return scratch;
  scratch = calloc(1, sizeof(iree_scratch));
  if (scratch && pthread_setspecific(scratch_key, scratch) != 0) {
    free(scratch);
    scratch = NULL;
  }
  return scratch;
}

static size_t mapped_bytes(size_t import_offset, size_t import_count) {
  return import_offset + import_count * sizeof(void*);
}

void* iree_code_map(const void* code, size_t code_bytes, size_t import_offset,
                    void* const* imports, size_t import_count) {
  size_t bytes = mapped_bytes(import_offset, import_count);
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  if (code_bytes == 0 || code_bytes > import_offset || import_offset % page != 0) {
    errno = EINVAL;
    return NULL;
  }
  char* base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return NULL;
  memcpy(base, code, code_bytes);
  if (import_count) memcpy(base + import_offset, imports, import_count * sizeof(void*));
  // The pages stop being writable in the same step in which they become executable.
  bool refused = mprotect(base, import_offset, PROT_READ | PROT_EXEC) != 0 ||
                 (import_count && mprotect(base + import_offset, bytes - import_offset, PROT_READ));
  if (refused) {
    int error = errno;
    munmap(base, bytes);
    errno = error;
    return NULL;
  }
  __builtin___clear_cache(base, base + code_bytes);
  return base;
}

void iree_code_unmap(void* base, size_t import_offset, size_t import_count) {
  if (base) munmap(base, mapped_bytes(import_offset, import_count));
}
