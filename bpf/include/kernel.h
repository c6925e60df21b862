/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The kernel types that the probes read, and nothing more.
 *
 * Each struct lists only the fields that are used; preserve_access_index makes
 * clang emit relocations, so the real offsets come from the BTF of the kernel
 * that loads the program. This replaces a vmlinux.h of 135,000 lines, keeps the
 * objects the same on every machine that builds them, and shows in one place
 * what a new kernel could break.
 *
 * Fields that only some kernels have are guarded with bpf_core_field_exists()
 * where they are used; the comment here says which kernels.
 */
#pragma once

typedef unsigned char __u8;
typedef signed short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef _Bool bool;
#define true 1
#define false 0

/* From the kernel's ABI, include/uapi/linux/bpf.h. */
enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_HASH = 5,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};
enum { BPF_ANY = 0, BPF_NOEXIST = 1 };
enum { BPF_F_NO_PREALLOC = 1, BPF_F_MMAPABLE = 1 << 10 };
enum { BPF_LOCAL_STORAGE_GET_F_CREATE = 1 };

/* From include/linux/sched.h and include/trace/events/lock.h. */
#define PF_KTHREAD 0x00200000
#define TASK_UNINTERRUPTIBLE 0x00000002
#define TASK_DEAD 0x00000080
#define TASK_NOLOAD 0x00000400
#define MAX_RT_PRIO 100
#define LCB_F_SPIN 1

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct kernfs_node {
	__u64 id; /* the directory's inode number on 64-bit kernels */
};

struct cgroup_root {
	int hierarchy_id; /* as in /proc/cgroups; 0 is cgroup v2 */
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
	struct cgroup_root *root;
};

/* The values differ between kernels; only the relocated ones may be used. */
enum cgroup_subsys_id { CGROUP_SUBSYS_COUNT = 16 };

struct css_set {
	struct cgroup_subsys_state *subsys[CGROUP_SUBSYS_COUNT];
	struct cgroup *dfl_cgrp;
};

struct rq {
	__u64 clock;
	__u64 clock_pelt;
	unsigned long lost_idle_time;
};

struct cfs_rq {
	struct rq *rq;
	int throttle_count;
	__u64 throttled_clock_pelt;      /* 5.19 and later */
	__u64 throttled_clock_pelt_time;
	__u64 throttled_clock_self;      /* 6.6 and later */
	__u64 throttled_clock_self_time;
};

struct sched_entity {
	struct cfs_rq *cfs_rq;
	unsigned char sched_delayed; /* 6.12 and later */
};

struct task_group {
	struct cgroup_subsys_state css;
};

struct thread_info {
	__u32 cpu;
};

struct bpf_local_storage;

struct task_struct {
	struct thread_info thread_info;
	unsigned int __state;
	unsigned int flags;
	int on_cpu;
	int on_rq;
	int prio;
	struct sched_entity se;
	struct task_group *sched_task_group;
	bool throttled; /* 6.18 and later: its quota ran out when it returned to user space */
	int exit_state;
	unsigned in_iowait : 1;
	unsigned in_memstall : 1; /* CONFIG_PSI */
	int pid;
	int tgid;
	struct task_struct *real_parent;
	__u64 start_time; /* CLOCK_MONOTONIC */
	char comm[16];
	struct css_set *cgroups;
	struct bpf_local_storage *bpf_storage;
};

struct pt_regs {
	unsigned long orig_ax; /* x86_64 */
	int syscallno;         /* arm64 */
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

#pragma clang attribute pop
