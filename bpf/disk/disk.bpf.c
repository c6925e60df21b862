//go:build ignore

// SPDX-License-Identifier: GPL-2.0
/*
 * How long block I/O takes, by device and by who asked for it: from when it is
 * queued until it is issued to the device (queue), and until it completes
 * (service).
 *
 * An I/O begins as a bio, which whoever asks for it submits; that is where its
 * owner is known. Bios are merged into requests, which a driver issues and
 * completes; a request belongs to the target if one of its bios does. Devices
 * without requests (dm, md, zram) complete the bio itself.
 *
 * A flush before the data (REQ_PREFLUSH, what fsync comes down to) is made of
 * several requests that carry no bio. Such an I/O is timed from queue to end, and
 * all of it is service: it is the device that flushes.
 *
 * A bio that a cgroup's I/O limit holds back (io.max, blkio.throttle) is queued
 * here only when it is let go, by a kernel thread.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "target.h"
#include "block.h"

char LICENSE[] SEC("license") = "GPL";

/* Who asked: the target, the kernel (journals, writeback) or somebody else. */
enum owner { TARGET, KERNEL, OTHER };
enum op { READ, WRITE, FLUSH, ELSE, NUM_OPS };

/* Slot i counts times below 2^i microseconds; the last one all above, 17 s and more. */
enum { SLOTS = 26 };

/* The longest chain of bios of one request that is walked. */
enum { MAX_CHAIN = 256 };

volatile __u64 window_end = ~0ull;
volatile __u32 skipped; /* requests that were queued before the window */

/* An I/O that has not completed. */
struct pending {
	__u64 queued; /* CLOCK_MONOTONIC */
	__u64 issued; /* 0 until the driver has it */
	__u64 cgroup;
	__u64 bytes;
	__u32 dev; /* major << 20 | minor, of the whole disk */
	__u32 owner;
	__u32 op;
	__u32 preflush;
	char comm[16]; /* of who submitted it */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64); /* struct bio * */
	__type(value, struct pending);
} bios SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64); /* struct request * */
	__type(value, struct pending);
} requests SEC(".maps");

/* One owner's part of a device. */
struct share {
	__u64 cgroup; /* on v2 that of the bio, else the task group of who submitted it; 0: the kernel's own */
	__u32 dev;
	__u32 owner;
};

struct totals {
	__u64 bytes;
	__u64 queue_ns;
	__u64 service_ns;
	__u64 longest_ns;
	__u32 ops[NUM_OPS];
	__u32 queue[SLOTS];
	__u32 service[SLOTS];
	char comm[16]; /* of who came first */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct share);
	__type(value, struct totals);
} shares SEC(".maps");

/* What a share begins with: it is too large for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct totals);
} nothing SEC(".maps");

/* Groups of the io controller that are the target's, where the target is not named by them (v1). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u8);
} io_groups SEC(".maps");

static __always_inline __u32 device(struct gendisk *disk)
{
	return (__u32)disk->major << 20 | (__u32)disk->first_minor;
}

static __always_inline __u32 op_of(blk_opf_t opf)
{
	__u32 op = opf & REQ_OP_MASK;

	return op <= OP_FLUSH ? op : ELSE;
}

/* Says whose a bio is. The cgroup that it is charged to knows better than the
 * thread that submits it: writeback is done by kernel threads. */
static __always_inline void find_owner(struct bio *bio, struct pending *p)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct cgroup *cgrp = 0;
	__u64 id;

	p->owner = task->flags & PF_KTHREAD ? KERNEL : OTHER;
	if (p->owner == OTHER) {
		id = readable(task)->sched_task_group->css.cgroup->kn->id;
		p->cgroup = id ? id : 1; /* an autogroup has no directory: it stands for the root */
		if (in_target(task)) {
			p->owner = TARGET;
			return;
		}
	}
	bio = readable(bio);
	if (!bio->bi_blkg)
		return;
	cgrp = bio->bi_blkg->blkcg->css.cgroup;
	id = cgrp->kn->id;
	if (target_has_cgroup(cgrp)) {
		p->owner = TARGET;
		p->cgroup = id;
	} else if (bpf_map_lookup_elem(&io_groups, &id)) {
		p->owner = TARGET;
	} else if (!cgrp->root->hierarchy_id && id > 1) {
		p->owner = OTHER;
		p->cgroup = id;
	}
}

static __always_inline void queued(struct bio *bio)
{
	__u64 key = (__u64)bio;
	struct pending p = {};

	bio = readable(bio);
	if (!bio->bi_bdev || !bio->bi_bdev->bd_disk)
		return;
	p.queued = bpf_ktime_get_ns();
	p.dev = device(bio->bi_bdev->bd_disk);
	p.bytes = bio->bi_iter.bi_size;
	p.op = op_of(bio->bi_opf);
	p.preflush = bio->bi_opf >> bpf_core_enum_value(enum req_flag_bits, __REQ_PREFLUSH) & 1;
	if (p.preflush && !p.bytes)
		p.op = FLUSH;
	find_owner(bio, &p);
	bpf_get_current_comm(p.comm, sizeof(p.comm));
	if (bpf_map_update_elem(&bios, &key, &p, BPF_ANY))
		count_lost();
}

static __always_inline __u32 slot(__u64 ns)
{
	__u64 us = ns / 1000;
	__u32 i = 0;

	/* A bounded loop: clang has no count-leading-zeros for BPF. */
	for (; i < SLOTS - 1 && us; i++)
		us >>= 1;
	return i;
}

static __always_inline void completed(struct pending *p, __u64 now)
{
	struct share key = {.cgroup = p->cgroup, .dev = p->dev, .owner = p->owner};
	struct totals *t = bpf_map_lookup_elem(&shares, &key);
	__u64 wait = p->issued - p->queued, service = now - p->issued;
	__u32 i = 0, op = p->op;

	if (!t) {
		struct totals *zero = bpf_map_lookup_elem(&nothing, &i);

		if (zero) /* another CPU may have been first */
			bpf_map_update_elem(&shares, &key, zero, BPF_NOEXIST);
		t = bpf_map_lookup_elem(&shares, &key);
		if (!t) {
			count_lost();
			return;
		}
		__builtin_memcpy(t->comm, p->comm, sizeof(t->comm));
	}
	if (op < NUM_OPS)
		__sync_fetch_and_add(&t->ops[op], 1);
	__sync_fetch_and_add(&t->bytes, p->bytes);
	__sync_fetch_and_add(&t->queue_ns, wait);
	__sync_fetch_and_add(&t->service_ns, service);
	if (wait + service > t->longest_ns) /* two CPUs at once: either is long */
		t->longest_ns = wait + service;
	i = slot(wait);
	if (i < SLOTS)
		__sync_fetch_and_add(&t->queue[i], 1);
	i = slot(service);
	if (i < SLOTS)
		__sync_fetch_and_add(&t->service[i], 1);
}

SEC("tp_btf/block_bio_queue")
int BPF_PROG(on_bio_queue, struct bio *bio)
{
	queued(bio);
	return 0;
}

/* The front of a bio that is too large becomes a bio of its own; the rest keeps its place. */
SEC("tp_btf/block_split")
int BPF_PROG(on_split, struct bio *front)
{
	queued(front);
	return 0;
}

/* Of devices without requests only: for the others its completion counts as the request's. */
SEC("tp_btf/block_bio_complete")
int BPF_PROG(on_bio_complete, struct request_queue *q, struct bio *bio)
{
	__u64 key = (__u64)bio, now = bpf_ktime_get_ns();
	struct pending *p = bpf_map_lookup_elem(&bios, &key);

	if (!p || now > window_end)
		return 0;
	p->issued = p->queued;
	completed(p, now);
	bpf_map_delete_elem(&bios, &key);
	return 0;
}

/* A request's bios; the walk is a bpf_loop() because the verifier goes through a for as often as it may run. */
struct chain {
	__u64 bio;
	struct pending r; /* the first of them, or the target's; queued is 0: none was seen */
	bool preflush;
};

static long walk(__u32 i, struct chain *c)
{
	struct bio *bio = (struct bio *)c->bio;
	struct pending *p = bpf_map_lookup_elem(&bios, &c->bio);

	if (p && p->preflush) { /* it is never merged */
		c->preflush = true;
		return 1;
	}
	if (p) {
		if (!c->r.queued || (p->owner == TARGET && c->r.owner != TARGET))
			c->r = *p;
		bpf_map_delete_elem(&bios, &c->bio);
	}
	c->bio = (__u64)BPF_CORE_READ(bio, bi_next);
	return !c->bio;
}

SEC("tp_btf/block_rq_issue")
int BPF_PROG(on_issue, struct request *rq)
{
	__u64 key = (__u64)rq, now = bpf_ktime_get_ns();
	struct pending *known = bpf_map_lookup_elem(&requests, &key);
	struct chain c = {.bio = (__u64)readable(rq)->bio};

	if (!c.bio || now > window_end)
		return 0;
	if (known && !known->issued) { /* it was requeued */
		known->issued = now;
		return 0;
	}
	bpf_loop(MAX_CHAIN, walk, &c, 0);
	if (c.preflush)
		return 0;
	if (!c.r.queued) {
		__sync_fetch_and_add(&skipped, 1);
		return 0;
	}
	c.r.issued = now;
	c.r.bytes = rq->__data_len;
	if (bpf_map_update_elem(&requests, &key, &c.r, BPF_ANY))
		count_lost();
	return 0;
}

/* The device was busy, or the I/O is tried again: it queues once more. */
SEC("tp_btf/block_rq_requeue")
int BPF_PROG(on_requeue, struct request *rq)
{
	__u64 key = (__u64)rq;
	struct pending *r = bpf_map_lookup_elem(&requests, &key);

	if (r)
		r->issued = 0;
	return 0;
}

SEC("tp_btf/block_rq_complete")
int BPF_PROG(on_complete, struct request *rq, blk_status_t error, unsigned int bytes)
{
	__u64 key = (__u64)rq, now = bpf_ktime_get_ns();
	struct pending *r = bpf_map_lookup_elem(&requests, &key);

	if (now > window_end)
		return 0; /* it was pending at the end */
	if (r) {
		if (bytes < rq->__data_len)
			return 0; /* a part of it; the rest follows */
		if (!r->issued)
			r->issued = now; /* ended without the driver, by an error */
		completed(r, now);
		bpf_map_delete_elem(&requests, &key);
		return 0;
	}
	/* With a flush before it: its data completes first, then, with 0 bytes, the whole. */
	key = (__u64)readable(rq)->bio;
	r = key ? bpf_map_lookup_elem(&bios, &key) : 0;
	if (!r || !r->preflush || bytes)
		return 0;
	r->issued = r->queued;
	completed(r, now);
	bpf_map_delete_elem(&bios, &key);
	return 0;
}
