// block: threads and processes that write blocks below dir= and wait for the
// disk each time, with on microseconds of computing and off of sleep between.
// kind=fsync (write, then fsync), direct (O_DIRECT and O_DSYNC, in place), read
// (O_DIRECT), grow (all append to one file with O_DIRECT, which the file
// system does one at a time), once (each write in a process of its own).
#include "app.h"

static const char *dir, *kind;
static long on, off, size;
static int grown;
static _Atomic long end;

static int open_own(long id, int flags)
{
	char name[4096];
	snprintf(name, sizeof name, "%s/%d-%ld", dir, getpid(), id);
	int fd = open(name, O_RDWR | O_CREAT | flags, 0644);
	if (fd < 0)
		die(name);
	return fd;
}

static void one(int fd, char *buf, long i)
{
	int64_t t = now_us(), c = cpu_us();
	off_t at = i % 256 * size;
	ssize_t n;
	if (*kind == 'r')
		n = pread(fd, buf, size, at);
	else if (*kind == 'g')
		n = pwrite(grown, buf, size, atomic_fetch_add(&end, size));
	else
		n = pwrite(fd, buf, size, at);
	if (n < 0 || (*kind == 'f' && fsync(fd)))
		die("writing");
	lost(now_us() - t - (cpu_us() - c));
}

static void *work(void *arg)
{
	char *buf = aligned_alloc(4096, size);
	memset(buf, 1, size);
	int direct = *kind == 'd' || *kind == 'r' || *kind == 'o';
	int fd = open_own((long)arg, *kind == 'd' || *kind == 'o' ? O_DIRECT | O_DSYNC : 0);
	if (direct) {
		int plain = open_own((long)arg, 0);
		if (posix_fallocate(plain, 0, 256 * size))
			die("fallocate");
		close(plain);
	}
	if (*kind == 'r') {
		for (long i = 0; i < 256; i++)
			if (pwrite(fd, buf, size, i * size) < 0)
				die("pwrite");
		fsync(fd);
		close(fd);
		fd = open_own((long)arg, O_DIRECT);
	}
	for (long i = 0;; i++) {
		pid_t pid = *kind == 'o' ? fork() : -1;
		if (pid <= 0) {
			spin(on);
			one(fd, buf, i);
			if (!pid)
				_exit(0);
		} else {
			waitpid(pid, NULL, 0);
		}
		nap(off);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	dir = text("dir", "."), kind = text("kind", "direct");
	on = number("on", 0), off = number("off", 0), size = number("size", 4096);
	if (*kind == 'g')
		grown = open_own(0, O_DIRECT | O_TRUNC);
	return run(number("procs", 1), number("threads", 1), work);
}
