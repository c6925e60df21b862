// space: threads of one process that change its address space all the time.
// big= threads flip the protection of mb megabytes page by page in one call;
// the others map, touch and unmap a page; off microseconds between two rounds.
#include "app.h"

static char *region;
static size_t size;
static long big, off, on;

static void *work(void *arg)
{
	for (long i = 0;; i++) {
		int64_t t = now_us();
		if ((long)arg < big) {
			if (mprotect(region, size, i % 2 ? PROT_READ | PROT_WRITE : PROT_READ))
				die("mprotect");
		} else {
			char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			if (p == MAP_FAILED)
				die("mmap");
			*p = 1;
			munmap(p, 4096);
			lost(now_us() - t); // spinning for the lock included
		}
		spin(on);
		nap(off);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	big = number("big", 1), off = number("off", 0), on = number("on", 0);
	size = number("mb", 256) << 20;
	region = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (region == MAP_FAILED)
		die("mmap");
	madvise(region, size, MADV_NOHUGEPAGE);
	memset(region, 1, size);
	return run(1, number("threads", 4), work);
}
