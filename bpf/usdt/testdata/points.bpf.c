//go:build ignore

/* SPDX-License-Identifier: GPL-2.0 */
/* For the tests: remembers the arguments of the last hit of each point, by process. */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "usdt.h"

char LICENSE[] SEC("license") = "GPL";

struct hit {
	__u64 count, failed;
	__u64 args[USDT_ARGUMENTS];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u64); /* thread group id << 32 | index of the spec */
	__type(value, struct hit);
} hits SEC(".maps");

#define READ(n) \
	if (usdt_arg(ctx, spec, n, &h->args[n])) \
		h->failed |= 1 << n;

SEC("uprobe")
int on_hit(void *ctx)
{
	__u64 key = (bpf_get_current_pid_tgid() & ~0xffffffffULL) | (__u32)bpf_get_attach_cookie(ctx);
	struct usdt_spec *spec = usdt_spec(ctx);
	struct hit zero = {}, *h;

	bpf_map_update_elem(&hits, &key, &zero, BPF_NOEXIST);
	h = bpf_map_lookup_elem(&hits, &key);
	if (!h || !spec)
		return 0;
	h->failed = 0;
	READ(0) READ(1) READ(2) READ(3) READ(4) READ(5) READ(6) READ(7)
	h->count++;
	return 0;
}
