// The thread pool: work items are claimed in chunks from one atomic word, idle workers spin for
// a moment and then park.
//
// The word holds the job's number (high half) and how many chunks are left (low half). A worker
// claims a chunk by lowering it. Only a claim gives the right to read the job, and the job is
// not replaced before every claimed chunk is done; so a worker that comes late, or never, harms
// nobody, and the caller never waits for one that has claimed nothing.
#define _GNU_SOURCE
#include "pool.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

#include "memory.h"
#include "park.h"

enum {
  SPINS = 2000,            // some tens of microseconds: longer than the gap between dispatches
  CHUNKS_PER_THREAD = 16,  // evens out threads that are slowed down by others
  STACK_BYTES = 8 << 20,
  CACHE_LINE = 64,
};

typedef struct {
  pthread_t thread;
  iree_pool* pool;
  iree_scratch scratch;
} worker_t;

struct iree_pool {
  _Alignas(CACHE_LINE) _Atomic uint64_t work;
  _Alignas(CACHE_LINE) _Atomic uint32_t done;  // chunks finished
  _Atomic uint32_t caller_parked;
  _Alignas(CACHE_LINE) _Atomic uint32_t wake;  // changes when parked workers should look
  _Atomic uint32_t parked;
  _Atomic bool stop;
  _Alignas(CACHE_LINE) iree_job job;
  int64_t per_chunk;
  uint32_t chunks;
  uint32_t number;
  pthread_mutex_t owner;
  pid_t process;
  int worker_count;
  worker_t* workers;
};

// Takes a chunk; returns how many were left including it, or 0.
static uint32_t claim(iree_pool* pool) {
  uint64_t word = atomic_load_explicit(&pool->work, memory_order_acquire);
  while ((uint32_t)word != 0) {
    if (atomic_compare_exchange_weak_explicit(&pool->work, &word, word - 1, memory_order_acq_rel,
                                              memory_order_acquire)) {
      return (uint32_t)word;
    }
  }
  return 0;
}

// Does chunks until none is left. The last one to finish wakes a parked caller.
static void work(iree_pool* pool, iree_scratch* scratch) {
  for (uint32_t left; (left = claim(pool)) != 0;) {
    const iree_job* job = &pool->job;
    uint32_t chunks = pool->chunks;
    int64_t begin = (int64_t)(chunks - left) * pool->per_chunk;
    int64_t end = begin + pool->per_chunk < job->grid ? begin + pool->per_chunk : job->grid;
    job->kernel(job->bindings, job->scalars, scratch->memory, begin, end);
    // From here on the job may be replaced.
    if (atomic_fetch_add(&pool->done, 1) + 1 == chunks && atomic_load(&pool->caller_parked)) {
      iree_unpark(&pool->done, 1);
    }
  }
}

static bool has_work(iree_pool* pool) {
  return (uint32_t)atomic_load_explicit(&pool->work, memory_order_acquire) != 0;
}

static void wait_for_work(iree_pool* pool) {
  for (int i = 0; i < SPINS; ++i) {
    if (has_work(pool) || atomic_load_explicit(&pool->stop, memory_order_relaxed)) return;
    iree_relax();
  }
  uint32_t seen = atomic_load(&pool->wake);
  atomic_fetch_add(&pool->parked, 1);
  // Sequentially consistent, like the pair in publish().
  bool idle = (uint32_t)atomic_load(&pool->work) == 0;
  if (idle && !atomic_load(&pool->stop)) iree_park(&pool->wake, seen);
  atomic_fetch_sub(&pool->parked, 1);
}

static void* worker_main(void* argument) {
  worker_t* self = argument;
  while (!atomic_load(&self->pool->stop)) {
    work(self->pool, &self->scratch);
    wait_for_work(self->pool);
  }
  return NULL;
}

static void stop_workers(iree_pool* pool) {
  atomic_store(&pool->stop, true);
  atomic_fetch_add(&pool->wake, 1);
  iree_unpark(&pool->wake, pool->worker_count);
  for (int i = 0; i < pool->worker_count; ++i) pthread_join(pool->workers[i].thread, NULL);
}

// Starts a worker with every signal blocked: signals belong to the program's own threads.
static bool start_worker(worker_t* worker) {
  sigset_t all, before;
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return false;
  pthread_attr_setstacksize(&attributes, STACK_BYTES);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(&worker->thread, &attributes, worker_main, worker);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  return error == 0;
}

iree_pool* iree_pool_create(int threads) {
  iree_pool* pool = iree_aligned_alloc(sizeof(iree_pool));
  if (!pool) return NULL;
  *pool = (iree_pool){.process = getpid()};
  pthread_mutex_init(&pool->owner, NULL);
  int workers = threads > 1 ? threads - 1 : 0;
  pool->workers = calloc(workers ? (size_t)workers : 1, sizeof(worker_t));
  bool ok = pool->workers != NULL;
  for (int i = 0; ok && i < workers; ++i) {
    pool->workers[i].pool = pool;
    ok = start_worker(&pool->workers[i]);
    pool->worker_count += ok;
  }
  if (ok) return pool;
  iree_pool_destroy(pool);
  return NULL;
}

void iree_pool_destroy(iree_pool* pool) {
  if (!pool) return;
  if (pool->process == getpid()) stop_workers(pool);
  for (int i = 0; i < pool->worker_count; ++i) iree_scratch_free(&pool->workers[i].scratch);
  free(pool->workers);
  pthread_mutex_destroy(&pool->owner);
  iree_aligned_free(pool);
}

static int run_alone(const iree_job* job) {
  iree_scratch* scratch = iree_thread_scratch();
  if (!scratch || !iree_scratch_reserve(scratch, job->scratch)) return ENOMEM;
  job->kernel(job->bindings, job->scalars, scratch->memory, 0, job->grid);
  return 0;
}

static void wait_until_done(iree_pool* pool, uint32_t chunks) {
  for (int i = 0; i < SPINS; ++i) {
    if (atomic_load_explicit(&pool->done, memory_order_acquire) == chunks) return;
    iree_relax();
  }
  // A worker holds the last chunk without a processor to run on: leave it ours.
  atomic_store(&pool->caller_parked, 1);
  for (uint32_t done; (done = atomic_load(&pool->done)) != chunks;) iree_park(&pool->done, done);
  atomic_store(&pool->caller_parked, 0);
}

// Memory for a worker is reserved while it cannot be working.
static bool reserve_scratch(iree_pool* pool, iree_scratch* own, int64_t bytes) {
  for (int i = 0; i < pool->worker_count; ++i) {
    if (!iree_scratch_reserve(&pool->workers[i].scratch, bytes)) return false;
  }
  return iree_scratch_reserve(own, bytes);
}

static void publish(iree_pool* pool, const iree_job* job, uint32_t chunks, int64_t per_chunk) {
  pool->job = *job;
  pool->chunks = chunks;
  pool->per_chunk = per_chunk;
  atomic_store_explicit(&pool->done, 0, memory_order_relaxed);
  // Sequentially consistent against `parked`: either we see a worker park, or it sees the work.
  atomic_store(&pool->work, ((uint64_t)++pool->number << 32) | chunks);
  if (atomic_load(&pool->parked) != 0) {
    atomic_fetch_add(&pool->wake, 1);
    iree_unpark(&pool->wake, (int)(chunks - 1));
  }
}

int iree_pool_run(iree_pool* pool, const iree_job* job) {
  if (job->grid <= 0) return 0;
  int64_t grain = job->grain > 0 ? job->grain : 1;
  if (!pool || pool->worker_count == 0 || job->grid <= grain) return run_alone(job);
  if (pthread_mutex_trylock(&pool->owner) != 0) return run_alone(job);
  iree_scratch* scratch = iree_thread_scratch();
  if (!scratch || !reserve_scratch(pool, scratch, job->scratch)) {
    pthread_mutex_unlock(&pool->owner);
    return ENOMEM;
  }
  int64_t most = (int64_t)(pool->worker_count + 1) * CHUNKS_PER_THREAD;
  int64_t chunks = (job->grid - 1) / grain + 1;
  if (chunks > most) chunks = most;
  int64_t per_chunk = (job->grid - 1) / chunks + 1;
  chunks = (job->grid - 1) / per_chunk + 1;
  publish(pool, job, (uint32_t)chunks, per_chunk);
  work(pool, scratch);
  wait_until_done(pool, (uint32_t)chunks);
  pthread_mutex_unlock(&pool->owner);
  return 0;
}
