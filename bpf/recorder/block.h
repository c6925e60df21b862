/* SPDX-License-Identifier: GPL-2.0 */
/* Requests to block devices, by the group of who asked. */
#pragma once

/*
 * A request, from when its first bio has one until it is complete. It begins in the
 * context of who asks; what kernel threads do, the journal's among them, is nobody's.
 */
struct io {
	__u64 begin;
	__u64 serial; /* of the group that has the cell; 0: it is a kernel thread's */
	__u32 cell;
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096); /* a bio that was merged behind another does not come back */
	__type(key, __u64);        /* struct bio * */
	__type(value, struct io);
} ios SEC(".maps");

struct bio;

volatile __u64 kernel_requests;
volatile __u64 kernel_request_ns;

SEC("tp_btf/block_getrq")
int BPF_PROG(on_block_request, struct bio *bio)
{
	struct task_struct *p = bpf_get_current_task_btf();
	struct io io = {.begin = bpf_ktime_get_ns()};
	__u64 key = (__u64)bio;

	if (!(p->flags & PF_KTHREAD)) {
		struct cell *c;

		io.cell = cell_number(p);
		c = cell_at(io.cell);
		if (!c)
			return 0;
		io.serial = c->serial;
	}
	bpf_map_update_elem(&ios, &key, &io, BPF_ANY);
	return 0;
}

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct request {
	struct bio *bio;
};

#pragma clang attribute pop

SEC("tp_btf/block_rq_complete")
int BPF_PROG(on_block_done, struct request *rq)
{
	__u64 key = (__u64)rq->bio, now = bpf_ktime_get_ns(), ns;
	struct io *io = bpf_map_lookup_elem(&ios, &key);
	struct cell *c;

	if (!io)
		return 0;
	ns = now > io->begin ? now - io->begin : 0;
	c = cell_at(io->cell);
	if (!io->serial) {
		count(kernel_requests, 1);
		count(kernel_request_ns, ns);
	} else if (c && c->serial == io->serial) {
		count(c->requests, 1);
		count(c->request_ns, ns);
	}
	bpf_map_delete_elem(&ios, &key);
	return 0;
}
