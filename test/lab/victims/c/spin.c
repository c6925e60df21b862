// spin: threads that compute on microseconds, then sleep off. With file= each
// round also writes a block to the page cache. procs= processes of them.
#include "app.h"

static void *work(void *arg)
{
	int64_t on = number("on", 10000), off = number("off", 0);
	const char *file = text("file", NULL);
	char block[4096] = {1};
	int fd = file ? open(file, O_RDWR | O_CREAT | O_TRUNC, 0644) : -1;
	nap((long)arg * number("stagger", 0));
	for (long i = 0;; i++) {
		spin(on);
		if (fd >= 0 && pwrite(fd, block, sizeof block, i % 2048 * 4096) < 0)
			die("pwrite");
		nap(off);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	return run(number("procs", 1), number("threads", 1), work);
}
