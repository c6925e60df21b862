package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/kmend/kmend/test/process"
)

// question is something that a script of bpftrace answers, and that kmend answers
// with everything else at once. The scripts are those of bpftrace and bcc that ask
// it, on tracepoints where theirs are on kprobes: not every kernel has those.
type question struct{ name, asks, script string }

var questions = []question{
	{"runqlat", "how long threads wait for a CPU", `
tracepoint:sched:sched_wakeup, tracepoint:sched:sched_wakeup_new { @qtime[args->pid] = nsecs; }
tracepoint:sched:sched_switch {
  if (args->prev_state == 0) { @qtime[args->prev_pid] = nsecs; }
  $ns = @qtime[args->next_pid];
  if ($ns) { @usecs = hist((nsecs - $ns) / 1000); }
  delete(@qtime[args->next_pid]);
}`},
	{"offcputime", "how long threads are off the CPU, in which state", `
tracepoint:sched:sched_switch {
  @start[args->prev_pid] = nsecs;
  @state[args->prev_pid] = args->prev_state;
  $ns = @start[args->next_pid];
  if ($ns) { @usecs[args->next_comm, @state[args->next_pid]] = sum((nsecs - $ns) / 1000); }
  delete(@start[args->next_pid]);
}`},
	{"futexlat", "how long threads wait in futex(2), for which address", `
tracepoint:syscalls:sys_enter_futex { @start[tid] = nsecs; @at[tid] = args->uaddr; }
tracepoint:syscalls:sys_exit_futex /@start[tid]/ {
  @usecs[comm, @at[tid]] = sum((nsecs - @start[tid]) / 1000);
  delete(@start[tid]); delete(@at[tid]);
}`},
	{"lockstat", "how long threads wait for kernel locks, and where", `
tracepoint:lock:contention_begin { @start[tid] = nsecs; }
tracepoint:lock:contention_end /@start[tid]/ { @usecs[kstack(6)] = sum((nsecs - @start[tid]) / 1000); delete(@start[tid]); }`},
	{"biolatency", "how long disks take", `
tracepoint:block:block_rq_issue { @start[args->dev, args->sector] = nsecs; }
tracepoint:block:block_rq_complete /@start[args->dev, args->sector]/ {
  @usecs[args->dev] = hist((nsecs - @start[args->dev, args->sector]) / 1000);
  delete(@start[args->dev, args->sector]);
}`},
	{"tcpretrans", "what TCP sends again, to whom", `
tracepoint:tcp:tcp_retransmit_skb { @[ntop(args->daddr), args->dport] = count(); }`},
	{"reclaimlat", "how long threads reclaim memory", `
tracepoint:vmscan:mm_vmscan_direct_reclaim_begin, tracepoint:vmscan:mm_vmscan_memcg_reclaim_begin { @start[tid] = nsecs; }
tracepoint:vmscan:mm_vmscan_direct_reclaim_end, tracepoint:vmscan:mm_vmscan_memcg_reclaim_end /@start[tid]/ {
  @usecs[comm] = hist((nsecs - @start[tid]) / 1000); delete(@start[tid]);
}`},
	{"profile", "in which functions the CPU time goes by", `
profile:hz:99 { @[kstack, ustack, comm] = count(); }`},
}

// bpftrace needs tracefs: where it is not mounted, it gets one of its own.
func bpftrace(ctx context.Context, script string) (func() error, error) {
	const tracefs = `[ -d /sys/kernel/tracing/events ] || mount -t tracefs tracefs /sys/kernel/tracing; exec bpftrace -e "$0"`
	p, err := process.Start(process.Spec{Name: "bpftrace", Path: "unshare",
		Args: []string{"--mount", "--propagation", "private", "/bin/sh", "-c", tracefs, script}})
	if err != nil {
		return nil, err
	}
	ready, cancel := context.WithTimeoutCause(ctx, 30*time.Second, errors.New("not attached after 30 s"))
	defer cancel()
	err = p.WaitFor(ready, func(context.Context) error {
		if !strings.Contains(p.Tail(), "Attaching") {
			return errors.New("it does not say that it attaches")
		}
		return nil
	})
	if err == nil {
		err = pause(ctx, attach)
	}
	if err == nil {
		err = p.Ended()
	}
	if err != nil {
		return nil, errors.Join(err, p.Kill())
	}
	return func() error {
		if err := p.Ended(); err != nil {
			return err
		}
		return p.Stop(30 * time.Second) // while it attaches, which may take long, it does not listen
	}, nil
}
