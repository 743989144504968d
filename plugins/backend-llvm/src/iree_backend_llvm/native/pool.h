// A pool of threads that share the work items of one dispatch at a time.
#ifndef IREE_LOCAL_POOL_H_
#define IREE_LOCAL_POOL_H_

#include <stdint.h>

// A compiled kernel: does work items begin..end. `scratch` is private to the thread.
typedef void (*iree_kernel)(void* const* bindings, const int64_t* scalars, void* scratch,
                            int64_t begin, int64_t end);

typedef struct {
  iree_kernel kernel;
  void* const* bindings;
  const int64_t* scalars;
  int64_t grid;     // number of work items
  int64_t grain;    // how many are worth waking a thread for
  int64_t scratch;  // bytes of private memory per thread
} iree_job;

typedef struct iree_pool iree_pool;

// Starts `threads` - 1 workers: the thread that calls is one of the pool. NULL if out of memory
// or threads.
iree_pool* iree_pool_create(int threads);

// Stops the workers. In a child made by fork() they do not exist and only memory is freed.
void iree_pool_destroy(iree_pool* pool);

// Runs all work items and returns when they are done: 0, or ENOMEM if there is no memory for
// scratch. `pool` may be NULL, for the calling thread alone. May be called from several
// threads; those that find the pool taken do their work alone.
int iree_pool_run(iree_pool* pool, const iree_job* job);

#endif  // IREE_LOCAL_POOL_H_
