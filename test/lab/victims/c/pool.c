// pool: workers that wait for jobs on a condition variable, and a producer that
// queues batch jobs of on microseconds every gap (0: never). stages=N hands each
// job on through N such queues, one worker each: a pipeline.
#include "app.h"

struct queue {
	pthread_mutex_t m;
	pthread_cond_t c;
	long jobs;
};
static struct queue q[16] = {[0 ... 15] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0}};
static long stages, on, gap, batch, workers;

static void put(struct queue *to, long n)
{
	pthread_mutex_lock(&to->m);
	to->jobs += n;
	pthread_mutex_unlock(&to->m);
	for (long i = 0; i < n; i++)
		pthread_cond_signal(&to->c);
}

static void take(struct queue *from)
{
	pthread_mutex_lock(&from->m);
	while (!from->jobs)
		pthread_cond_wait(&from->c, &from->m);
	from->jobs--;
	pthread_mutex_unlock(&from->m);
}

static void *work(void *arg)
{
	long i = (long)arg;
	if (i == workers) {
		for (; gap; nap(gap))
			put(&q[0], batch);
		return NULL;
	}
	long stage = stages > 1 ? i % stages : 0;
	for (;;) {
		take(&q[stage]);
		spin(on);
		if (stage + 1 < stages)
			put(&q[stage + 1], 1);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	stages = number("stages", 1), on = number("on", 1000), gap = number("gap", 0), batch = number("batch", 1);
	workers = stages > 1 ? stages : number("threads", 8);
	return run(1, workers + 1, work);
}
