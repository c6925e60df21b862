/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One cell a task group, found by the number that the kernel gives its cpu
 * controller's state: the smallest that is free, so the numbers stay dense and an
 * array can hold them. A number is given again when its group is gone; the serial
 * number, which is not, says whose the cell is.
 *
 * Counters only grow while a group has the cell. User space reads the array
 * through its mapping once a second and takes differences.
 */
#pragma once

#include "walk.h"

/* What is recorded of the ledger, in the order of recorder.States(). */
enum recorded { REC_ON_CPU, REC_RUN_QUEUE, REC_THROTTLED, REC_IO, REC_RECLAIM, REC_KERNEL_LOCK, NUM_RECORDED };

enum { SERIAL_FREE = 0, MAX_DEPTH = 16, ROOT_CELL = 1 };
#define SERIAL_TAKEN (~0ull)
#define NO_QUOTA (~0ull)

struct cell {
	__u64 serial; /* of the group that has it; SERIAL_TAKEN while it changes hands */
	__u32 limited; /* the group or one above it has a quota */
	__u32 above;   /* number of the cell of the group above; 0: there is none */
	__u64 ns[NUM_RECORDED];
	__u64 switches;
	__u64 threads; /* threads that were active for 20 ms and more in this second, added up over seconds */
	__u64 group;  /* its task_group, 0 once that is gone: not to be followed */
	__u64 cgroup; /* kernfs id of its directory */
	__u32 reclaims;
	__u32 ooms;
	__u64 requests;    /* to block devices, begun by its threads, that are complete */
	__u64 request_ns;  /* that they took */
	__u32 retransmits; /* TCP segments, of its sockets; 0 where the kernel does not know whose they are: tcp.h */
	__u32 netns;       /* of those sockets: as in /proc/PID/ns/net, NETNS_SEVERAL, or 0 */
	__u64 stall_ns;    /* that they had stalled before */
	__u64 quota;       /* cfs_bandwidth, as last read by sample_groups */
	__u64 period;
	__u64 periods;
	__u64 throttled_periods;
	__u64 throttled_ns;
	__u64 first_periods; /* cfs_bandwidth when the cell was given; 0 of a group made since this was loaded */
	__u64 first_throttled_periods;
	__u64 first_throttled_ns;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct cell);
} cells SEC(".maps");

volatile __u64 younger; /* serial numbers from this on are of groups made since this was loaded; 0: none was */
volatile __u32 highest; /* number of a cell that is in use */
volatile __u64 no_cell; /* what was not recorded: of groups past the array's end, of threads without an account */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct cgroup_subsys_state___recorder {
	struct cgroup *cgroup;
	int id;
	__u64 serial_nr;
};

struct cgroup___made {
	struct cgroup_subsys_state___recorder self;
};

struct cfs_bandwidth {
	__u64 period;
	__u64 quota;
	int nr_periods;
	int nr_throttled;
	__u64 throttled_time;
};

struct task_group___recorder {
	struct cgroup_subsys_state___recorder css;
	struct task_group___recorder *parent;
	struct cfs_bandwidth cfs_bandwidth;
};

#pragma clang attribute pop

static __always_inline struct cell *cell_at(__u32 i)
{
	return bpf_map_lookup_elem(&cells, &i);
}

static __always_inline bool has_quota(struct task_group___recorder *tg)
{
	return BPF_CORE_READ(tg, cfs_bandwidth.quota) != NO_QUOTA;
}

/* One of the groups from tg up has a quota. tg may be gone: its memory is read safely. */
static __always_inline bool is_limited(struct task_group___recorder *tg)
{
	if (!bpf_core_field_exists(tg->cfs_bandwidth))
		return false;
	for (int i = 0; i < MAX_DEPTH && tg; i++) {
		if (has_quota(tg))
			return true;
		tg = BPF_CORE_READ(tg, parent);
	}
	return false;
}

/*
 * Gives a cell to its new group. Whoever comes meanwhile adds to the old counts
 * or is zeroed away: some microseconds of a group that has just been made.
 */
static __always_inline void claim(struct cell *c, struct task_group___recorder *tg, __u32 id)
{
	__u64 was = c->serial, serial = BPF_CORE_READ(tg, css.serial_nr);

	if (was == SERIAL_TAKEN || __sync_val_compare_and_swap(&c->serial, was, SERIAL_TAKEN) != was)
		return;
	__builtin_memset(&c->limited, 0, sizeof(*c) - __builtin_offsetof(struct cell, limited));
	c->cgroup = BPF_CORE_READ(tg, css.cgroup, kn, id);
	c->group = (__u64)tg;
	c->above = BPF_CORE_READ(tg, parent, css.id);
	c->limited = is_limited(tg);
	c->quota = NO_QUOTA;
	if (bpf_core_field_exists(tg->cfs_bandwidth)) {
		c->periods = BPF_CORE_READ(tg, cfs_bandwidth.nr_periods);
		c->throttled_periods = BPF_CORE_READ(tg, cfs_bandwidth.nr_throttled);
		c->throttled_ns = BPF_CORE_READ(tg, cfs_bandwidth.throttled_time);
		if (!younger || serial < younger) {
			c->first_periods = c->periods;
			c->first_throttled_periods = c->throttled_periods;
			c->first_throttled_ns = c->throttled_ns;
		}
	}
	if (id > highest)
		highest = id;
	__sync_lock_test_and_set(&c->serial, serial);
}

/* The controllers' states of a group are made with it, or later. */
SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(on_mkdir, struct cgroup *made)
{
	if (!younger)
		younger = ((struct cgroup___made *)made)->self.serial_nr;
	return 0;
}

/* The groups above, whose quotas hold it back and which may have no thread. */
static __noinline int claim_parents(struct task_group___recorder *tg)
{
	for (int i = 0; i < MAX_DEPTH; i++) {
		struct cell *c;
		__u32 id;

		tg = BPF_CORE_READ(tg, parent);
		if (!tg)
			break;
		id = BPF_CORE_READ(tg, css.id);
		c = cell_at(id);
		if (c && c->serial != BPF_CORE_READ(tg, css.serial_nr))
			claim(c, tg, id);
	}
	return 0;
}

/* The number of a group's cell. An autogroup stands for the root, and cell 0 for the groups for which there is none. */
static __noinline __u32 group_number(struct task_group___recorder *tg)
{
	__u32 id = BPF_CORE_READ(tg, css.id);
	struct cell *c;

	if (!id)
		return ROOT_CELL;
	c = cell_at(id);
	if (!c) {
		no_cell++;
		return 0;
	}
	if (c->serial != BPF_CORE_READ(tg, css.serial_nr)) {
		claim(c, tg, id);
		claim_parents(tg);
	}
	return id;
}

/* That of the group that p is scheduled in. */
static __always_inline __u32 cell_number(struct task_struct *p)
{
	return group_number((void *)readable(p)->sched_task_group);
}

static __always_inline struct cell *cell_of(struct task_struct *p)
{
	return cell_at(cell_number(p));
}

#define count(field, n) __sync_fetch_and_add(&(field), n)
