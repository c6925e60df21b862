// guard: threads that take one lock, hold it for hold microseconds (asleep, or
// computing with busy=1), release it and compute for own and sleep for off; with
// beat all of them come back together, every so many microseconds.
// kind=mutex, rwlock (one writer in writers, the others read), brief (each
// round is a new thread), or procs= processes that share the mutex.
#include "app.h"

struct shared {
	pthread_mutex_t mutex;
	pthread_rwlock_t rw;
};
static struct shared *s;
static int64_t hold, busy, own, off, beat;

static __attribute__((noinline)) void inside(void)
{
	if (busy)
		spin(hold);
	else
		nap(hold);
}

static __attribute__((noinline)) void with_mutex(void)
{
	int64_t t = now_us();
	pthread_mutex_lock(&s->mutex);
	lost(now_us() - t);
	inside();
	pthread_mutex_unlock(&s->mutex);
}

static __attribute__((noinline)) void with_rwlock(int write)
{
	int64_t t = now_us();
	if (write)
		pthread_rwlock_wrlock(&s->rw);
	else
		pthread_rwlock_rdlock(&s->rw);
	lost(now_us() - t);
	inside();
	pthread_rwlock_unlock(&s->rw);
}

static void *worker(void *arg)
{
	int rw = !strcmp(text("kind", "mutex"), "rwlock");
	long writers = number("writers", 1);
	for (;;) {
		if (rw)
			with_rwlock((long)arg < writers);
		else
			with_mutex();
		spin(own);
		nap(off);
		if (beat)
			nap(beat - now_us() % beat);
	}
	return NULL;
}

static void *once(void *arg)
{
	(void)arg;
	with_mutex();
	return NULL;
}

// brief: threads live for one round of the lock.
static void *lane(void *arg)
{
	for (;;) {
		pthread_t t;
		if (pthread_create(&t, NULL, once, arg) == 0)
			pthread_join(t, NULL);
		spin(own);
		nap(off);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	hold = number("hold", 5000), busy = number("busy", 0), own = number("own", 0), off = number("off", 0), beat = number("beat", 0);
	s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t m;
	pthread_mutexattr_init(&m);
	if (number("procs", 1) > 1)
		pthread_mutexattr_setpshared(&m, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&s->mutex, &m);
	// With the default, readers that overlap keep writers out for ever.
	pthread_rwlockattr_t rw;
	pthread_rwlockattr_init(&rw);
	pthread_rwlockattr_setkind_np(&rw, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&s->rw, &rw);
	int brief = !strcmp(text("kind", "mutex"), "brief");
	return run(number("procs", 1), number("threads", 4), brief ? lane : worker);
}
