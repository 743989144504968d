// Command lists: parsed and checked once, executed any number of times with other buffers and
// parameters. The interface for ctypes; the encoding is that of driver.py.
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "pool.h"

typedef struct {
  int64_t is_param;
  int64_t value;  // the number, or the position in the parameters
} operand_t;

typedef struct {
  int64_t slot;
  operand_t offset;
} binding_t;

enum {
  DISPATCH = 0,
  COPY = 1,
  FILL = 2,
  MOST_OPERANDS = 1 << 14,  // of one command: they are resolved on the stack
};

typedef struct {
  int64_t kind;
  iree_kernel kernel;
  int64_t binding_count, scalar_count;
  int64_t grain;
  uint64_t pattern;           // of a fill, repeated to eight bytes
  operand_t extent, scratch;  // grid of a dispatch, length of a copy or fill
  const binding_t* bindings;  // of a copy: source, target
  const operand_t* scalars;
} command_t;

typedef struct {
  int64_t command_count;
  int64_t most_bindings, most_scalars;
  command_t* commands;
  binding_t* bindings;
  operand_t* scalars;
} iree_list;

// Reads the words of an encoded list; `ok` turns false where they do not make sense.
typedef struct {
  const int64_t* words;
  int64_t left;
  int64_t slots, params;
  bool ok;
} reader_t;

static int64_t next(reader_t* in) {
  if (in->left <= 0) {
    in->ok = false;
    return 0;
  }
  in->left--;
  return *in->words++;
}

static int64_t next_below(reader_t* in, int64_t bound) {
  int64_t value = next(in);
  if (value < 0 || value >= bound) in->ok = false;
  return in->ok ? value : 0;
}

static operand_t next_operand(reader_t* in) {
  operand_t operand = {.is_param = next_below(in, 2)};
  operand.value = operand.is_param ? next_below(in, in->params) : next(in);
  return operand;
}

static binding_t next_binding(reader_t* in) {
  binding_t binding = {.slot = next_below(in, in->slots)};
  binding.offset = next_operand(in);
  return binding;
}

// Kind, then: dispatch: entry, grain, grid, scratch, bindings, scalars; copy: length, source,
// target; fill: length, pattern, target. Counts stand before the bindings and the scalars.
static command_t next_command(reader_t* in, void* const* entries, int64_t entry_count,
                              binding_t** bindings, operand_t** scalars) {
  command_t command = {.kind = next_below(in, 3), .bindings = *bindings, .scalars = *scalars};
  if (command.kind == DISPATCH) {
    int64_t entry = next_below(in, entry_count);
    if (in->ok) command.kernel = (iree_kernel)(uintptr_t)entries[entry];
    command.grain = next(in);
    command.extent = next_operand(in);
    command.scratch = next_operand(in);
    command.binding_count = next_below(in, in->left + 1);
    for (int64_t i = 0; i < command.binding_count && in->ok; ++i) *(*bindings)++ = next_binding(in);
    command.scalar_count = next_below(in, in->left + 1);
    for (int64_t i = 0; i < command.scalar_count && in->ok; ++i) *(*scalars)++ = next_operand(in);
    return command;
  }
  command.extent = next_operand(in);
  if (command.kind == FILL) command.pattern = (uint64_t)next(in);
  command.binding_count = command.kind == COPY ? 2 : 1;
  for (int64_t i = 0; i < command.binding_count; ++i) *(*bindings)++ = next_binding(in);
  return command;
}

void iree_list_destroy(iree_list* list) {
  if (!list) return;
  free(list->commands);
  free(list->bindings);
  free(list->scalars);
  free(list);
}

// Makes a list of `command_count` commands from `word_count` words. NULL with errno EINVAL if
// they are inconsistent, ENOMEM if there is no memory.
iree_list* iree_list_create(const int64_t* words, int64_t word_count, int64_t command_count,
                            int64_t slots, int64_t params, void* const* entries,
                            int64_t entry_count) {
  reader_t in = {words, word_count, slots, params, true};
  iree_list* list = calloc(1, sizeof(*list));
  if (!list) goto failed;
  if (command_count < 0 || command_count > word_count) {
    in.ok = false;
    command_count = 0;
  }
  // Every binding takes three words and every scalar two, which bounds their number.
  list->commands = calloc((size_t)command_count + 1, sizeof(command_t));
  list->bindings = calloc((size_t)word_count / 3 + 2, sizeof(binding_t));
  list->scalars = calloc((size_t)word_count / 2 + 1, sizeof(operand_t));
  if (!list->commands || !list->bindings || !list->scalars) goto failed;
  binding_t* bindings = list->bindings;
  operand_t* scalars = list->scalars;
  for (; list->command_count < command_count && in.ok; ++list->command_count) {
    command_t c = next_command(&in, entries, entry_count, &bindings, &scalars);
    if (c.binding_count > list->most_bindings) list->most_bindings = c.binding_count;
    if (c.scalar_count > list->most_scalars) list->most_scalars = c.scalar_count;
    list->commands[list->command_count] = c;
  }
  bool small = list->most_bindings <= MOST_OPERANDS && list->most_scalars <= MOST_OPERANDS;
  if (in.ok && in.left == 0 && small) return list;
failed:
  errno = list && list->scalars ? EINVAL : ENOMEM;
  iree_list_destroy(list);
  return NULL;
}

static int64_t value_of(operand_t operand, const int64_t* params) {
  return operand.is_param ? params[operand.value] : operand.value;
}

static char* address_of(const binding_t* binding, void* const* buffers, const int64_t* params) {
  return (char*)buffers[binding->slot] + value_of(binding->offset, params);
}

static void fill(char* target, int64_t length, uint64_t pattern) {
  uint64_t byte = pattern & 0xff;
  if (pattern == byte * 0x0101010101010101u) {
    memset(target, (int)byte, (size_t)length);
    return;
  }
  int64_t whole = length & ~(int64_t)7;
  for (int64_t i = 0; i < whole; i += 8) memcpy(target + i, &pattern, 8);
  memcpy(target + whole, &pattern, (size_t)(length - whole));
}

typedef struct {
  char *source, *target;
  uint64_t pattern;
  int64_t length;
} move_t;

// Big copies and fills are shared by the threads in blocks, like any kernel.
enum { BLOCK = 256 * 1024 };

static void move_blocks(void* const* bindings, const int64_t* scalars, void* scratch,
                        int64_t begin, int64_t end) {
  (void)scalars, (void)scratch;
  const move_t* move = (const move_t*)bindings;
  int64_t from = begin * BLOCK;
  int64_t to = end * BLOCK < move->length ? end * BLOCK : move->length;
  if (move->source) {
    memcpy(move->target + from, move->source + from, (size_t)(to - from));
  } else {
    fill(move->target + from, to - from, move->pattern);
  }
}

static int run_move(const command_t* c, iree_pool* pool, void* const* buffers,
                    const int64_t* params) {
  move_t move = {.pattern = c->pattern, .length = value_of(c->extent, params)};
  if (move.length <= 0) return 0;
  if (c->kind == COPY) move.source = address_of(&c->bindings[0], buffers, params);
  move.target = address_of(&c->bindings[c->binding_count - 1], buffers, params);
  iree_job job = {
      .kernel = move_blocks,
      .bindings = (void* const*)&move,
      .grid = (move.length - 1) / BLOCK + 1,
      .grain = 4,
  };
  return iree_pool_run(pool, &job);
}

static int run_dispatch(const command_t* c, iree_pool* pool, void* const* buffers,
                        const int64_t* params, void** bindings, int64_t* scalars) {
  for (int64_t i = 0; i < c->binding_count; ++i) {
    bindings[i] = address_of(&c->bindings[i], buffers, params);
  }
  for (int64_t i = 0; i < c->scalar_count; ++i) scalars[i] = value_of(c->scalars[i], params);
  iree_job job = {c->kernel,
                  bindings,
                  scalars,
                  value_of(c->extent, params),
                  c->grain,
                  value_of(c->scratch, params)};
  return iree_pool_run(pool, &job);
}

// What one execution needs besides the list: the list itself may run in several threads at once.
typedef struct {
  const iree_list* list;
  iree_pool* pool;  // NULL: the calling thread alone
} iree_recording;

// Executes the list; 0 or an errno value.
int iree_list_execute(const iree_recording* recording, void* const* buffers,
                      const int64_t* params) {
  const iree_list* list = recording->list;
  void* bindings[list->most_bindings + 1];
  int64_t scalars[list->most_scalars + 1];
  for (int64_t i = 0; i < list->command_count; ++i) {
    const command_t* c = &list->commands[i];
    int status = c->kind == DISPATCH
                     ? run_dispatch(c, recording->pool, buffers, params, bindings, scalars)
                     : run_move(c, recording->pool, buffers, params);
    if (status) return status;
  }
  return 0;
}
