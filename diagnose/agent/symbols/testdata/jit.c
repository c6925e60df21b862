/* The program of TestJIT: spins in machine code that it made, and says so in its perf map. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

__attribute__((noinline)) static int run_compiled(void (*code)(void))
{
	code();
	return 1;
}

int main(void)
{
	/* push %rbp; mov %rsp,%rbp; call +2; jmp .; push %rbp; mov %rsp,%rbp; jmp . */
	static const unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0xe8, 0x02, 0, 0, 0, 0xeb, 0xfe, 0x55, 0x48, 0x89, 0xe5, 0xeb, 0xfe};
	unsigned char *at = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char name[64];
	FILE *map;

	memcpy(at, code, sizeof(code));
	snprintf(name, sizeof(name), "/tmp/perf-%d.map", getpid());
	map = fopen(name, "w");
	fprintf(map, "%lx 40 old::stale\n", (unsigned long)at);
	fprintf(map, "%lx b Lcom/example/Shop;::checkout\n", (unsigned long)at);
	fprintf(map, "%lx 6 Lcom/example/Cart;::total\n", (unsigned long)at + 11);
	fclose(map);
	printf("ready %d\n", getpid());
	fflush(stdout);
	return run_compiled((void (*)(void))at) + 1;
}
