// SPDX-License-Identifier: Apache-2.0
/*
 * Threads of the C library that contend for a lock, and threads that wait for
 * other things and must not be taken for it. Prints "ready" and runs until
 * it is killed or its parent ends.
 *
 * usage: locks MODE THREADS HOLD_US REST_US
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static long hold_us, rest_us, threads;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_cond_t more = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static sem_t items;
static long queued;

/* Not inlined: they are what a stack must show. */
__attribute__((noinline)) void compute(long us)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	long end = t.tv_sec * 1000000 + t.tv_nsec / 1000 + us;
	do
		clock_gettime(CLOCK_MONOTONIC, &t);
	while (t.tv_sec * 1000000 + t.tv_nsec / 1000 < end);
}

__attribute__((noinline)) void update_account(void)
{
	pthread_mutex_lock(&lock);
	compute(hold_us);
	pthread_mutex_unlock(&lock);
	__asm__ volatile("");
}

_Noreturn static void *mutex(void *n)
{
	for (;;) {
		update_account();
		compute(rest_us);
	}
}

__attribute__((noinline)) void sleep_in_lock(void)
{
	pthread_mutex_lock(&lock);
	usleep(hold_us);
	pthread_mutex_unlock(&lock);
	__asm__ volatile("");
}

/* Held asleep: the lock of something that waits for a disk or a peer. */
_Noreturn static void *sleeper(void *n)
{
	for (;;) {
		sleep_in_lock();
		usleep(rest_us);
	}
}

_Noreturn static void *rw(void *n)
{
	for (;;) {
		if ((long)n % 2)
			pthread_rwlock_rdlock(&rwlock);
		else
			pthread_rwlock_wrlock(&rwlock);
		compute(hold_us);
		pthread_rwlock_unlock(&rwlock);
		compute(rest_us);
	}
}

/* A work queue: thread 0 brings work, the others do it. */
_Noreturn static void *queue(void *n)
{
	for (;;) {
		if (!n) {
			usleep(rest_us);
			pthread_mutex_lock(&lock);
			queued++;
			pthread_cond_signal(&more);
			pthread_mutex_unlock(&lock);
			continue;
		}
		pthread_mutex_lock(&lock);
		while (!queued)
			pthread_cond_wait(&more, &lock);
		queued--;
		pthread_mutex_unlock(&lock);
		compute(hold_us);
	}
}

/* A pool whose workers bring the next item to their own pool. */
_Noreturn static void *chain(void *n)
{
	for (;;) {
		pthread_mutex_lock(&lock);
		while (!queued)
			pthread_cond_wait(&more, &lock);
		queued--;
		pthread_mutex_unlock(&lock);
		compute(hold_us);
		pthread_mutex_lock(&lock);
		queued++;
		pthread_cond_signal(&more);
		pthread_mutex_unlock(&lock);
		usleep(rest_us);
	}
}

_Noreturn static void *semchain(void *n)
{
	for (;;) {
		sem_wait(&items);
		compute(hold_us);
		sem_post(&items);
		compute(rest_us);
	}
}

_Noreturn static void *rounds(void *n)
{
	for (;;) {
		compute(hold_us * ((long)n + 1));
		pthread_barrier_wait(&barrier);
	}
}

_Noreturn static void *idle(void *n)
{
	pthread_mutex_lock(&lock);
	for (;;)
		pthread_cond_wait(&more, &lock);
}

/* Several processes that share a lock, as the servers that fork have. */
static pthread_mutex_t *between;

static void *process(void *n)
{
	if (fork())
		return 0;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		pthread_mutex_lock(between);
		compute(hold_us);
		pthread_mutex_unlock(between);
		compute(rest_us);
	}
}

static void make_locks(int inherit)
{
	pthread_mutexattr_t a;

	between = mmap(0, sizeof(*between), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_init(&a);
	if (inherit)
		pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT);
	pthread_mutex_init(&lock, &a);
	pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_NONE);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(between, &a);
}

/* A database library that serialises its connection. */
static int (*db_exec)(void *, const char *, int (*)(void *, int, char **, char **), void *, char **);
static void *db;

__attribute__((noinline)) void run_query(void)
{
	char *error = 0;
	if (db_exec(db, "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < 3000) SELECT sum(x) FROM c", 0, 0, &error)) {
		fprintf(stderr, "query: %s\n", error);
		exit(1);
	}
	__asm__ volatile("");
}

_Noreturn static void *sqlite(void *n)
{
	for (;;) {
		run_query();
		compute(rest_us);
	}
}

static void open_sqlite(void)
{
	void *lib = dlopen("libsqlite3.so.0", RTLD_NOW);
	if (!lib) {
		fprintf(stderr, "%s\n", dlerror());
		exit(77);
	}
	int (*open)(const char *, void **, int, const char *) = dlsym(lib, "sqlite3_open_v2");
	db_exec = dlsym(lib, "sqlite3_exec");
	/* READWRITE | CREATE | MEMORY | FULLMUTEX */
	if (!open || !db_exec || open(":memory:", &db, 0x2 | 0x4 | 0x80 | 0x10000, 0)) {
		fprintf(stderr, "opening a database in memory\n");
		exit(1);
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void *(*run)(void *);
	} modes[] = {{"mutex", mutex}, {"sleeper", sleeper}, {"rwlock", rw}, {"queue", queue}, {"chain", chain},
		     {"sem", semchain}, {"barrier", rounds}, {"idle", idle}, {"sqlite", sqlite},
		     {"pi", mutex}, {"processes", process}};
	void *(*run)(void *) = 0;
	if (argc != 5)
		return 2;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	threads = atol(argv[2]);
	hold_us = atol(argv[3]);
	rest_us = atol(argv[4]);
	for (unsigned i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (!strcmp(modes[i].name, argv[1]))
			run = modes[i].run;
	if (!run)
		return 2;
	make_locks(!strcmp(argv[1], "pi"));
	if (run == sqlite)
		open_sqlite();
	queued = run == chain;
	sem_init(&items, 0, 1);
	pthread_barrier_init(&barrier, 0, threads);
	for (long i = 0; i < threads; i++) {
		pthread_t t;
		if (run == process) {
			run((void *)i); /* its child does not return */
			continue;
		}
		if (pthread_create(&t, 0, run, (void *)i))
			return 1;
	}
	printf("ready\n");
	fflush(stdout);
	for (;;)
		pause();
}
