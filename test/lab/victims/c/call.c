// call: threads and processes that each keep a connection to host= port= open
// and do requests on it: send ask bytes, read until answer bytes are there; on
// computing and off asleep after each. With fresh=1 each request has its own
// connection; with lock=1 a thread holds one mutex over the request.
#include "app.h"
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static long ask, answer, on, off;

static int dial(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)number("port", 7000))};
	inet_pton(AF_INET, text("host", "127.0.0.1"), &a.sin_addr);
	for (int i = 0; i < 200; i++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
		if (!connect(fd, (struct sockaddr *)&a, sizeof a))
			return fd;
		close(fd);
		nap(50000);
	}
	return die("connect");
}

// request: 4 bytes of length wanted, then the rest of ask bytes.
static void request(int fd, char *buf, long size)
{
	uint32_t head[2] = {htonl((uint32_t)ask), htonl((uint32_t)answer)};
	memcpy(buf, head, sizeof head);
	for (long n = 0; n < ask;) {
		ssize_t k = send(fd, buf + n, ask - n, MSG_NOSIGNAL);
		if (k <= 0)
			die("send");
		n += k;
	}
	for (long n = 0; n < answer;) {
		ssize_t k = recv(fd, buf, size, 0);
		if (k <= 0)
			die("recv");
		n += k;
	}
}

static void *work(void *arg)
{
	(void)arg;
	long size = ask > 1 << 16 ? ask : 1 << 16;
	char *buf = calloc(1, size);
	int fresh = number("fresh", 0), fd = fresh ? -1 : dial(), lock = number("lock", 0);
	for (;;) {
		int64_t t = now_us(), c = cpu_us();
		if (lock)
			pthread_mutex_lock(&mutex);
		if (fresh)
			fd = dial();
		request(fd, buf, size);
		if (fresh)
			close(fd);
		if (lock)
			pthread_mutex_unlock(&mutex);
		lost(now_us() - t - (cpu_us() - c));
		spin(on);
		nap(off);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	begin(argc, argv);
	ask = number("ask", 100), answer = number("answer", 100), on = number("on", 0), off = number("off", 0);
	return run(number("procs", 1), number("threads", 1), work);
}
