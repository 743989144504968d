// Runs one entry point of an executable image on files, with the runtime's own C library.
//
//   harness IMAGE ENTRY-OFFSET GRID SCRATCH-BYTES BINDINGS FILE... [SCALAR...]
//
// The files are the bindings; all are written back.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "pool.h"

void* iree_import_address(const char* name);

enum { MAX_OPERANDS = 16, SLACK = 64 };

static void fail(const char* what, const char* which) {
  fprintf(stderr, "%s %s\n", what, which);
  exit(1);
}

static unsigned char* read_file(const char* path, size_t* size) {
  FILE* file = fopen(path, "rb");
  if (!file) fail("cannot open", path);
  fseek(file, 0, SEEK_END);
  *size = (size_t)ftell(file);
  rewind(file);
  unsigned char* data = iree_aligned_alloc(*size + SLACK);
  if (fread(data, 1, *size, file) != *size) fail("cannot read", path);
  fclose(file);
  return data;
}

static const unsigned char* skip_string(const unsigned char* at) { return at + 2 + at[0] + 256 * at[1]; }

static char* map_image(const char* path) {
  size_t size;
  const unsigned char* image = read_file(path, &size);
  struct {
    char magic[8];
    uint32_t version, features, imports, reserved;
    uint64_t code_offset, code_size, import_offset;
  } header;
  memcpy(&header, image, sizeof header);
  const unsigned char* at = skip_string(image + sizeof header);
  for (uint32_t i = 0; i < header.features; ++i) at = skip_string(at);
  void** imports = calloc(header.imports + 1, sizeof(void*));
  for (uint32_t i = 0; i < header.imports; ++i, at = skip_string(at)) {
    char name[64] = {0};
    memcpy(name, at + 2, at[0]);
    if (!(imports[i] = iree_import_address(name))) fail("no function", name);
  }
  char* base = iree_code_map(image + header.code_offset, header.code_size, header.import_offset,
                             imports, header.imports);
  if (!base) fail("cannot map", path);
  return base;
}

int main(int argc, char** argv) {
  if (argc < 6) fail("usage:", "harness IMAGE ENTRY GRID SCRATCH BINDINGS FILE... [SCALAR...]");
  char* base = map_image(argv[1]);
  void* bindings[MAX_OPERANDS];
  size_t sizes[MAX_OPERANDS];
  int64_t scalars[MAX_OPERANDS] = {0};
  int count = atoi(argv[5]);
  for (int i = 0; i < count; ++i) bindings[i] = read_file(argv[6 + i], &sizes[i]);
  for (int i = 6 + count; i < argc; ++i) scalars[i - 6 - count] = atoll(argv[i]);
  iree_pool* pool = iree_pool_create(2);
  iree_job job = {
      .kernel = (iree_kernel)(uintptr_t)(base + atoll(argv[2])),
      .bindings = bindings,
      .scalars = scalars,
      .grid = atoll(argv[3]),
      .grain = 1,
      .scratch = atoll(argv[4]),
  };
  if (iree_pool_run(pool, &job) != 0) fail("out of", "memory");
  iree_pool_destroy(pool);
  for (int i = 0; i < count; ++i) {
    FILE* file = fopen(argv[6 + i], "wb");
    if (!file || fwrite(bindings[i], 1, sizes[i], file) != sizes[i]) fail("cannot write", argv[6 + i]);
    fclose(file);
  }
  return 0;
}
