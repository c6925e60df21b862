// Shared by the victims in C: KEY=NUMBER arguments, a clock, and the meter, a
// counter in a file named by $METER in which a victim adds up the microseconds
// that it lost by its own clock. The lab reads it as a witness.
#pragma once
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <signal.h>

static int app_argc;
static char **app_argv;
static _Atomic int64_t *app_meter;

static inline const char *text(const char *key, const char *otherwise)
{
	size_t n = strlen(key);
	for (int i = 1; i < app_argc; i++)
		if (!strncmp(app_argv[i], key, n) && app_argv[i][n] == '=')
			return app_argv[i] + n + 1;
	return otherwise;
}

static inline long number(const char *key, long otherwise)
{
	const char *s = text(key, NULL);
	return s ? atol(s) : otherwise;
}

static inline int die(const char *what)
{
	perror(what);
	exit(1);
}

static inline int64_t now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static inline int64_t cpu_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static inline void compute(int rounds)
{
	volatile uint64_t x = 1;
	for (int i = 0; i < rounds; i++)
		x = x * 6364136223846793005ULL + 1;
}

// spin computes until this thread has had us microseconds of CPU time.
static inline void spin(int64_t us)
{
	if (us <= 0)
		return;
	for (int64_t end = cpu_us() + us; cpu_us() < end;)
		compute(20000);
}

static inline void nap(int64_t us)
{
	struct timespec t = {us / 1000000, us % 1000000 * 1000};
	if (us > 0)
		while (nanosleep(&t, &t) && errno == EINTR)
			;
}

static inline void lost(int64_t us)
{
	if (app_meter)
		atomic_fetch_add(app_meter, us);
}

// begin opens the meter. A child process dies with its parent.
static inline void begin(int argc, char **argv)
{
	app_argc = argc, app_argv = argv;
	const char *file = getenv("METER");
	if (file) {
		int fd = open(file, O_RDWR | O_CREAT, 0666);
		if (fd < 0 || ftruncate(fd, 8))
			die(file);
		app_meter = mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (app_meter == MAP_FAILED)
			die("mmap");
		close(fd);
	}
}

static inline void ready(void)
{
	printf("ready\n");
	fflush(stdout);
}

// run starts procs processes with threads threads of f each, and waits for ever.
static inline int run(long procs, long threads, void *(*f)(void *))
{
	for (long p = 1; p < procs; p++) {
		pid_t parent = getpid(), pid = fork();
		if (pid < 0)
			die("fork");
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() != parent)
				_exit(0);
			procs = 0;
		}
	}
	pthread_t t;
	for (long i = 0; i < threads; i++)
		if (pthread_create(&t, NULL, f, (void *)i))
			die("pthread_create");
	if (procs)
		ready();
	for (;;)
		pause();
}
