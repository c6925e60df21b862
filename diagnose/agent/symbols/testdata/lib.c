/* libvictim.so: a library as a distribution builds them, without frame pointers. */
#include <pthread.h>

__attribute__((visibility("default"))) volatile unsigned long lib_count;

__attribute__((noinline)) static int deep(int how, pthread_mutex_t *lock, int n)
{
	volatile long room[20];
	int got;

	room[n] = n;
	if (n > 0) {
		got = deep(how, lock, n - 1) + (int)room[n];
	} else if (how == 'l') {
		got = pthread_mutex_lock(lock);
	} else {
		for (;;)
			lib_count++;
	}
	return got + (int)room[n];
}

int lib_step(int how, pthread_mutex_t *lock)
{
	volatile int got = deep(how, lock, 4);

	return got + 1;
}
