// folder: processes that work in one folder, dir=. The first list= of them read
// it from end to end, again and again; the others make and remove files in it.
// files= of them are there from the start.
#include "app.h"
#include <sys/syscall.h>

static const char *dir;

static void make(int at, const char *name)
{
	int fd = openat(at, name, O_CREAT | O_WRONLY, 0644);
	if (fd < 0)
		die(name);
	close(fd);
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	dir = text("dir", ".");
	long procs = number("procs", 4), list = number("list", 1), files = number("files", 20000), off = number("off", 0);
	int at = open(dir, O_RDONLY | O_DIRECTORY);
	if (at < 0)
		die(dir);
	char name[64];
	for (long i = 0; i < files; i++) {
		snprintf(name, sizeof name, "a-file-with-a-long-name-%06ld", i);
		make(at, name);
	}
	long me = 0;
	pid_t parent = getpid();
	for (long i = 1; i < procs && !me; i++)
		if (!fork()) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() != parent)
				_exit(0);
			me = i;
		}
	if (!me)
		ready();
	static char buffer[4 << 20];
	at = open(dir, O_RDONLY | O_DIRECTORY);
	for (long i = 0;; i++) {
		int64_t t = now_us(), c = cpu_us();
		if (me < list) {
			lseek(at, 0, SEEK_SET);
			while (syscall(SYS_getdents64, at, buffer, sizeof buffer) > 0)
				;
		} else {
			snprintf(name, sizeof name, "own-%ld-%ld", me, i % 10);
			make(at, name);
			unlinkat(at, name, 0);
			lost(now_us() - t - (cpu_us() - c));
		}
		nap(off);
	}
}
