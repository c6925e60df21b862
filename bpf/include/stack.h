/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Stacks of the current thread, from any tracepoint or perf event.
 *
 * User code is mostly built without frame pointers, so the kernel cannot walk it.
 * What user space needs to walk it is recorded instead: the registers with which
 * the thread entered the kernel and a copy of the top of its stack. Walking and
 * naming is diagnose/agent/symbols; the Go twin of struct stack is bpf/stack.
 *
 * Include after kernel.h and libbpf's headers. Stacks are in the table `stacks`; a
 * record names one by its index. Programs that capture per event use next_stack(),
 * which stops when the table is full and counts what was not kept in
 * stacks_wanted; a sampler may choose its slots itself with stack_at().
 */
#pragma once

#define STACK_BYTES 8192 /* of user memory, from the stack pointer up */
#define STACK_CHUNK 1024
#define STACK_STEP 256   /* in the chunk that ends in memory that is not there */
#define KERNEL_FRAMES 48
#define NO_STACK (~0u)

struct stack {
	__u64 ip, sp, bp;    /* at entry into the kernel; all 0: a kernel thread */
	__u32 tgid, tid;     /* in the initial pid namespace */
	__u32 user_bytes;    /* how many of user[] were read */
	__u32 kernel_frames; /* how many of kernel[] there are */
	__u64 kernel[KERNEL_FRAMES]; /* addresses, innermost first */
	__u8 user[STACK_BYTES];
};

/* User space resizes it and sets stacks_wanted to 0 before each window. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct stack);
} stacks SEC(".maps");

volatile __u32 stacks_wanted; /* by next_stack(); those past the table's end were dropped */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct pt_regs___x86_64 {
	unsigned long bp, ip, sp;
};
struct pt_regs___arm64 {
	__u64 regs[31];
	__u64 sp, pc;
};
#pragma clang attribute pop

static __always_inline struct stack *stack_at(__u32 i)
{
	return bpf_map_lookup_elem(&stacks, &i);
}

/* A free slot and its index, or NULL and NO_STACK. */
static __always_inline struct stack *next_stack(__u32 *index)
{
	__u32 i = __sync_fetch_and_add(&stacks_wanted, 1);
	struct stack *s = stack_at(i);

	*index = s ? i : NO_STACK;
	return s;
}

/*
 * In pieces: memory beside the stack may not be mapped, and no page may be
 * brought in here. What lies behind a missing page is of no use.
 */
static __always_inline __u32 copy_user_stack(__u8 *to, __u64 sp)
{
	__u32 n = 0;

	for (int i = 0; i < STACK_BYTES / STACK_CHUNK; i++) {
		if (bpf_probe_read_user(to + i * STACK_CHUNK, STACK_CHUNK, (void *)(sp + i * STACK_CHUNK))) {
			for (int j = 0; j < STACK_CHUNK / STACK_STEP; j++) {
				__u32 at = i * STACK_CHUNK + j * STACK_STEP;

				if (bpf_probe_read_user(to + at, STACK_STEP, (void *)(sp + at)))
					break;
				n += STACK_STEP;
			}
			break;
		}
		n += STACK_CHUNK;
	}
	return n;
}

/*
 * The user part. An interrupt out of user mode keeps its registers in the same
 * place as a system call does, on x86_64 and on arm64, so this is right for perf
 * events as well.
 */
static __always_inline void capture_user_stack(struct stack *s)
{
	struct task_struct *p = bpf_get_current_task_btf();
	__u64 id = bpf_get_current_pid_tgid();
	struct pt_regs___x86_64 *x86;
	struct pt_regs___arm64 *arm;

	s->tgid = id >> 32;
	s->tid = id;
	s->ip = s->sp = s->bp = 0;
	s->user_bytes = 0;
	s->kernel_frames = 0;
	if (p->flags & PF_KTHREAD)
		return;
	x86 = (void *)bpf_task_pt_regs(p);
	arm = (void *)x86;
	if (bpf_core_field_exists(x86->ip)) {
		s->ip = BPF_CORE_READ(x86, ip);
		s->sp = BPF_CORE_READ(x86, sp);
		s->bp = BPF_CORE_READ(x86, bp);
	} else if (bpf_core_field_exists(arm->pc)) {
		s->ip = BPF_CORE_READ(arm, pc);
		s->sp = BPF_CORE_READ(arm, sp);
		s->bp = BPF_CORE_READ(arm, regs[29]);
	}
	s->user_bytes = copy_user_stack(s->user, s->sp);
}

/*
 * The kernel part, after the user part. From a tracepoint the innermost frames are
 * the tracepoint's own, which symbols drops; from a perf event there are none while
 * the thread is in user mode.
 */
static __always_inline void capture_kernel_stack(void *ctx, struct stack *s)
{
	long n = bpf_get_stack(ctx, s->kernel, sizeof(s->kernel), 0);

	s->kernel_frames = n > 0 ? n / sizeof(__u64) : 0;
}
