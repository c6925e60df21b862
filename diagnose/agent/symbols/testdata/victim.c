/* The program of TestNative: waits for a lock, or spins, deep inside a library. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int lib_step(int how, pthread_mutex_t *lock);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((noinline)) static int serve(int how)
{
	volatile char frame[600];

	memset((char *)frame, 1, sizeof(frame));
	return lib_step(how, &lock) + frame[3];
}

int main(int argc, char **argv)
{
	int how = argc > 1 ? argv[1][0] : 's';

	if (how == 'l')
		pthread_mutex_lock(&lock);
	printf("ready %d\n", getpid());
	fflush(stdout);
	return serve(how) + 1;
}
