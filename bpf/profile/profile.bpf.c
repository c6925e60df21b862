//go:build ignore

// SPDX-License-Identifier: GPL-2.0
/*
 * Where the target's threads run: a clock interrupts every CPU and the stack of
 * the thread that it meets is recorded if the thread is of the target.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "target.h"
#include "stack.h"

char LICENSE[] SEC("license") = "GPL";

#define MAX_SLOTS 4096

volatile __u32 recording; /* 1 while the window is open */
volatile __u32 slots;     /* entries of the table in use, at most MAX_SLOTS */
volatile __u64 samples;   /* that met a thread of the target */
volatile __u32 writing[MAX_SLOTS];

/*
 * The table keeps a fair choice of all samples when there are more than it has
 * room for: sample number n replaces one at random with probability slots/n
 * (Vitter, Algorithm R).
 */
static __always_inline __u32 choose(__u64 n)
{
	if (n < slots)
		return n;
	return (__u64)bpf_get_prandom_u32() % (n + 1);
}

SEC("perf_event")
int on_sample(void *ctx)
{
	struct stack *s;
	__u32 i;

	if (!recording || !in_target(bpf_get_current_task_btf()))
		return 0;
	i = choose(__sync_fetch_and_add(&samples, 1));
	if (i >= slots || i >= MAX_SLOTS)
		return 0;
	if (__sync_val_compare_and_swap(&writing[i], 0, 1)) { /* another CPU replaces the same */
		count_lost();
		return 0;
	}
	s = stack_at(i);
	if (s) {
		capture_user_stack(s);
		capture_kernel_stack(ctx, s);
	}
	writing[i] = 0;
	return 0;
}
