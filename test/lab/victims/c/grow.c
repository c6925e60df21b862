// grow: a parent that starts, every gap microseconds after the last one ended, a
// child that touches mb megabytes in steps and then sleeps stay microseconds.
#include "app.h"

static void child(long mb, long pace, long stay)
{
	for (long i = 0; i < mb; i++) {
		char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			die("mmap");
		memset(p, 1, 1 << 20);
		nap(pace);
	}
	nap(stay);
	_exit(0);
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	long mb = number("mb", 100), pace = number("pace", 2000), stay = number("stay", 100000), gap = number("gap", 300000);
	long wait = number("wait", 0);
	ready();
	nap(wait);
	for (;;) {
		pid_t parent = getpid(), pid = fork();
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() != parent)
				_exit(0);
			child(mb, pace, stay);
		}
		int status;
		waitpid(pid, &status, 0);
		if (WIFSIGNALED(status))
			lost(1);
		nap(gap);
	}
}
