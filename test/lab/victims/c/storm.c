// storm: lanes processes that each fork a child at a time, which computes for
// on microseconds and exits; off between two children. With crash=1 the child
// dies of SIGSEGV. The lanes do nothing else. Lost is what a child waited.
#include "app.h"

int main(int argc, char **argv)
{
	begin(argc, argv);
	long lanes = number("lanes", 2), on = number("on", 2000), off = number("off", 0), crash = number("crash", 0);
	for (long i = 1; i < lanes; i++) {
		pid_t parent = getpid(), pid = fork();
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() != parent)
				_exit(0);
			lanes = 0;
		}
	}
	if (lanes)
		ready();
	for (;;) {
		pid_t pid = fork();
		if (pid < 0)
			die("fork");
		if (!pid) {
			int64_t t = now_us();
			spin(on);
			lost(now_us() - t - cpu_us());
			if (crash)
				raise(SIGSEGV);
			_exit(0);
		}
		waitpid(pid, NULL, 0);
		nap(off);
	}
}
