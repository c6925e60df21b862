package agent

import (
	"strings"

	"github.com/kmend/kmend/bpf/locks"
	"github.com/kmend/kmend/diagnose/agent/symbols"
)

// lockCode are the functions of the locks themselves, by their beginnings: what
// comes after them in a stack is who wanted the lock.
var lockCode = []string{
	"native_queued_spin_", "__pv_queued_spin_", "queued_spin_", "queued_read_", "queued_write_", "resilient_queued_spin_", "pv_wait",
	"_raw_spin_", "_raw_read_", "_raw_write_", "raw_spin_lock", "do_raw_spin_", "lock_mm_",
	"__mutex_", "mutex_", "ww_mutex_", "__ww_mutex_", "rt_mutex_", "__rt_mutex_", "rtlock_", "rt_spin_", "rt_read_", "rt_write_",
	"rwsem_", "__rwsem_", "down_", "__down", "up_read", "up_write", "__up_read", "__up_write", "downgrade_write",
	"percpu_down_", "__percpu_", "percpu_up_", "osq_", "down", "up",
}

// lockName names a lock by the function that wants it, where that says which lock
// of an object it is. A name is for all kinds of locks when it has none.
type lockName struct {
	name  string
	kinds []locks.Kind
	by    []string // beginnings of functions; those with a leading "*" are anywhere in the name
}

// lockNames are read in order. Taken from the callers in the source of 6.1 to
// 6.18; what is not here is "lock in FUNCTION".
var lockNames = []lockName{
	{"rq->lock", []locks.Kind{locks.Spinlock}, []string{"__schedule", "raw_spin_rq_", "_raw_spin_rq_", "__task_rq_lock", "task_rq_lock", "sched_tick", "scheduler_tick", "sched_balance", "load_balance", "ttwu_queue", "update_blocked_averages"}},
	{"mmap_lock", []locks.Kind{locks.RWSem}, []string{"__access_remote_vm", "access_remote_vm", "m_start", "process_vm_", "dup_mm", "exit_mm", "do_user_addr_fault", "do_exc_page_fault", "__mm_populate", "vm_mmap_pgoff", "__vm_munmap", "do_mprotect", "do_madvise", "madvise_"}},
	{"i_mmap_rwsem", []locks.Kind{locks.RWSem}, []string{"unlink_file_vma", "vma_link", "vma_prepare", "__vma_adjust", "unmap_mapping_", "rmap_walk_file"}},
	{"anon_vma lock", []locks.Kind{locks.RWSem}, []string{"*anon_vma", "rmap_walk_anon"}},
	{"cgroup_threadgroup_rwsem", []locks.Kind{locks.PercpuSem}, []string{"cgroup_", "copy_process", "exit_signals"}},
	{"superblock freeze lock", []locks.Kind{locks.PercpuSem}, []string{"*"}},
	{"inode i_rwsem", []locks.Kind{locks.RWSem}, []string{
		"*file_write_iter", "*file_read_iter", "*buffered_write", "*dio_write", "*dio_read", "*fallocate", "*fsync", "*_llseek",
		"path_openat", "open_last_lookups", "lookup_slow", "__lookup_slow", "walk_component", "do_unlinkat", "do_rmdir", "do_mkdirat", "do_linkat",
		"filename_create", "__start_dirop", "start_dirop", "lock_rename", "do_renameat2", "iterate_dir", "do_truncate", "chmod_common", "chown_common",
		"vfs_setxattr", "vfs_removexattr", "vfs_utimes", "lookup_one", "simple_recursive",
	}},
	{"ext4 i_data_sem", []locks.Kind{locks.RWSem}, []string{"ext4_map_blocks", "ext4_da_", "ext4_truncate", "ext4_ext_"}},
	{"pipe->mutex", []locks.Kind{locks.Mutex}, []string{"pipe_", "anon_pipe_", "fifo_", "splice_", "do_splice"}},
	{"file f_pos_lock", []locks.Kind{locks.Mutex}, []string{"__fdget_pos", "fdget_pos", "file_seek_cur_needs"}},
	{"rtnl_mutex", []locks.Kind{locks.Mutex}, []string{"rtnl_", "__rtnl_", "rtnetlink_"}},
	{"cgroup_mutex", []locks.Kind{locks.Mutex}, []string{"cgroup_", "__cgroup_", "css_", "cgroup1_", "proc_cgroup"}},
	{"epoll", nil, []string{"ep_", "do_epoll_", "__ep_", "eventpoll_"}},
	{"unix socket", nil, []string{"unix_"}},
	{"journal", nil, []string{"jbd2_", "start_this_handle", "add_transaction", "__jbd2_"}},
	{"futex hash bucket", []locks.Kind{locks.Spinlock}, []string{"futex_", "__futex_", "do_futex"}},
	{"zone->lock", []locks.Kind{locks.Spinlock}, []string{"rmqueue", "__rmqueue", "free_pcppages", "free_one_page", "free_unref", "__free_pages", "free_frozen_page", "get_page_from_freelist", "__alloc_pages", "__alloc_frozen"}},
	{"lruvec->lru_lock", []locks.Kind{locks.Spinlock}, []string{"folio_lruvec_", "*lru_add", "folio_batch_move_lru", "folios_put_refs", "release_pages", "isolate_lru", "shrink_", "move_folios", "lru_note"}},
	{"slab list_lock", []locks.Kind{locks.Spinlock}, []string{"get_partial", "get_from_partial", "__slab_free", "___slab_alloc", "__unfreeze", "deactivate_slab", "free_to_partial", "__put_partials"}},
	{"dentry lock", []locks.Kind{locks.Spinlock}, []string{"dput", "d_", "__d_", "lockref_", "dentry_", "__dentry_", "shrink_dentry", "simple_"}},
	{"page table lock", []locks.Kind{locks.Spinlock}, []string{"__pte_offset_map_lock", "pte_offset_map", "handle_mm_fault", "__handle_mm_fault", "do_anonymous_page", "do_fault", "wp_page_copy", "do_wp_page", "zap_pte_range", "unmap_page_range", "change_protection", "copy_page_range", "__pmd_alloc", "__pte_alloc", "set_pte_range", "filemap_map_pages"}},
	{"siglock", []locks.Kind{locks.Spinlock}, []string{"get_signal", "__lock_task_sighand", "lock_task_sighand", "do_send_", "send_sig", "__set_current_blocked", "sigprocmask", "do_sigaction", "do_sigtimedwait"}},
	{"tasklist_lock", []locks.Kind{locks.RWLock}, []string{"copy_process", "do_exit", "exit_notify", "release_task", "do_wait", "__do_wait", "wait_consider", "kill_", "do_prlimit", "set_special_pids", "ksys_setsid"}},
	{"hrtimer base", []locks.Kind{locks.Spinlock}, []string{"hrtimer_", "__hrtimer_", "lock_hrtimer_"}},
	{"timer base", []locks.Kind{locks.Spinlock}, []string{"lock_timer_base", "__mod_timer", "run_timer", "__run_timers", "call_timer_fn", "timer_delete", "__timer_delete"}},
	{"wait queue", []locks.Kind{locks.Spinlock}, []string{"__wake_up", "prepare_to_wait", "add_wait_queue", "remove_wait_queue", "finish_wait", "folio_wait", "folio_wake", "swake_up", "complete"}},
	{"socket lock", []locks.Kind{locks.Spinlock}, []string{"lock_sock", "__lock_sock", "release_sock", "sk_", "tcp_", "udp_", "__tcp_", "__udp_", "sock_", "skb_", "__skb_", "inet_"}},
	{"inode lock", []locks.Kind{locks.Spinlock}, []string{"evict", "iput", "igrab", "inode_", "__mark_inode_dirty", "find_inode"}},
	{"RCU node", []locks.Kind{locks.Spinlock}, []string{"rcu_", "__call_rcu", "call_rcu", "note_gp_"}},
}

// lockClass is what people call the lock: never an address. variable is the name of
// the kernel's variable that it is, or empty.
func lockClass(w locks.Wait, stack []symbols.Frame, variable string) string {
	if w.Known != locks.Other {
		return w.Known.String()
	}
	if variable != "" {
		return variable
	}
	kind, inner := w.Kind, 0
	for inner < len(stack) && isLockCode(stack[inner].Func) {
		kind = innerKind(kind, stack[inner].Func)
		inner++
	}
	if inner == len(stack) {
		return "lock at an unknown place"
	}
	callers := stack[inner:min(inner+2, len(stack))] // the first may be a wrapper
	if kind == locks.Spinlock && inner > 0 && callers[0].Func == "try_to_wake_up" {
		// Both of its locks are taken here; only the task's own disables interrupts.
		if strings.HasSuffix(stack[inner-1].Func, "_irqsave") {
			return "task pi_lock"
		}
		return "rq->lock"
	}
	for _, c := range callers {
		for _, n := range lockNames {
			if n.matches(kind, c.Func) {
				return n.name
			}
		}
	}
	return "lock in " + callers[0].Func
}

// innerKind: the spin lock inside a sleeping lock is a part of that.
func innerKind(k locks.Kind, function string) locks.Kind {
	switch {
	case strings.HasPrefix(function, "rwsem_"):
		return locks.RWSem
	case strings.HasPrefix(function, "__mutex_"):
		return locks.Mutex
	}
	return k
}

func isLockCode(function string) bool {
	for _, p := range lockCode {
		if function == p || strings.HasPrefix(function, p) && p != "up" && p != "down" && p != "raw_spin_lock" {
			return true
		}
	}
	return false
}

func (n lockName) matches(k locks.Kind, function string) bool {
	kind := len(n.kinds) == 0
	for _, want := range n.kinds {
		kind = kind || k == want
	}
	if !kind {
		return false
	}
	for _, by := range n.by {
		if part, anywhere := strings.CutPrefix(by, "*"); anywhere && strings.Contains(function, part) || strings.HasPrefix(function, by) {
			return true
		}
	}
	return false
}
