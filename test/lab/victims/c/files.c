// files: threads and processes that read a file of mb megabytes, file=, in
// random order in pieces of kb kilobytes through the page cache (kind=read) or
// by touching a mapping of it (kind=map), or keep anonymous memory (kind=write:
// rewrite it in the page cache). on computing and off asleep after each piece.
#include "app.h"

static const char *file, *kind;
static long mb, piece, on, off;

static void *work(void *arg)
{
	int fd = open(file, *kind == 'w' ? O_RDWR : O_RDONLY);
	if (fd < 0)
		die(file);
	char *buf = malloc(piece), *map = NULL;
	memset(buf, 1, piece);
	if (*kind == 'm') {
		map = mmap(NULL, mb << 20, PROT_READ, MAP_SHARED, fd, 0);
		if (map == MAP_FAILED)
			die("mmap");
	}
	unsigned seed = (unsigned)(long)arg + (unsigned)getpid();
	volatile char sum = 0;
	for (;;) {
		long at = (long)(rand_r(&seed) % ((mb << 20) / piece)) * piece;
		if (map)
			for (long i = 0; i < piece; i += 4096)
				sum += map[at + i];
		else if ((*kind == 'w' ? pwrite(fd, buf, piece, at) : pread(fd, buf, piece, at)) < 0)
			die("file");
		spin(on);
		nap(off);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	file = text("file", NULL), kind = text("kind", "read");
	mb = number("mb", 256), piece = number("kb", 256) << 10, on = number("on", 0), off = number("off", 0);
	return run(number("procs", 1), number("threads", 1), work);
}
