// Parking on a futex (Linux), or on one of a few condition variables elsewhere.
#define _GNU_SOURCE
#include "park.h"

#if defined(__linux__)

#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

void iree_park(_Atomic uint32_t* word, uint32_t expected) {
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

void iree_unpark(_Atomic uint32_t* word, int count) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

#else

#include <pthread.h>

// Words that share a bucket only cause needless wake-ups.
enum { BUCKETS = 16 };
static struct {
  pthread_mutex_t mutex;
  pthread_cond_t changed;
} buckets[BUCKETS];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_buckets(void) {
  for (int i = 0; i < BUCKETS; ++i) {
    pthread_mutex_init(&buckets[i].mutex, NULL);
    pthread_cond_init(&buckets[i].changed, NULL);
  }
}

static int bucket_of(_Atomic uint32_t* word) {
  pthread_once(&once, make_buckets);
  return (int)(((uintptr_t)word >> 6) % BUCKETS);
}

void iree_park(_Atomic uint32_t* word, uint32_t expected) {
  int i = bucket_of(word);
  pthread_mutex_lock(&buckets[i].mutex);
  if (atomic_load(word) == expected) {
    pthread_cond_wait(&buckets[i].changed, &buckets[i].mutex);
  }
  pthread_mutex_unlock(&buckets[i].mutex);
}

void iree_unpark(_Atomic uint32_t* word, int count) {
  (void)count;
  int i = bucket_of(word);
  pthread_mutex_lock(&buckets[i].mutex);
  pthread_cond_broadcast(&buckets[i].changed);
  pthread_mutex_unlock(&buckets[i].mutex);
}

#endif
