/* SPDX-License-Identifier: GPL-2.0 */
/* The kernel types and flags that only this probe reads; see kernel.h. */
#pragma once

/* From include/trace/events/lock.h; LCB_F_SPIN is in kernel.h. */
#define LCB_F_READ (1U << 1)
#define LCB_F_WRITE (1U << 2)
#define LCB_F_RT (1U << 3)
#define LCB_F_PERCPU (1U << 4)
#define LCB_F_MUTEX (1U << 5)

/* The low bits of the owner of a mutex and of an rw_semaphore are flags. */
#define OWNER_FLAGS 7ull
#define RWSEM_READER_OWNED 1ull

enum { BPF_MAP_TYPE_STACK_TRACE = 7 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	__s64 counter;
} atomic64_t;

/* Only addresses of spin locks are taken. */
typedef struct {
} spinlock_t;

typedef struct {
} raw_spinlock_t;

struct mutex {
	atomic64_t owner;
};

struct rw_semaphore {
	atomic64_t owner;
};

struct mm_struct {
	struct rw_semaphore mmap_lock;
	spinlock_t page_table_lock;
};

struct sighand_struct {
	spinlock_t siglock;
};

struct files_struct {
	spinlock_t file_lock;
};

struct signal_struct {
	struct mutex cred_guard_mutex;
	struct rw_semaphore exec_update_lock;
};

struct task_struct___locks {
	struct mm_struct *mm;
	struct sighand_struct *sighand;
	struct signal_struct *signal;
	struct files_struct *files;
	raw_spinlock_t pi_lock;
};

#pragma clang attribute pop
