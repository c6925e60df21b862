package cause

// The thresholds of every cause. A share is a part of the time in which the
// target's threads wanted to make progress, added up over them: every state but
// sleep and user_lock, and what probes name inside those two. Durations are for a
// window of 3 s and scale with the window.
//
// Figures are from TestThresholds in diagnose/agent, which runs each cause and
// each confusion on the kernel of this machine and prints them again:
//
//	go test -run TestThresholds -v ./diagnose/agent
//
// Here: 6.18, cgroup v1, 2 CPUs, windows of 1.5 s, with other work on the machine.
const (
	// minWindow is five CFS periods of 100 ms: in fewer, one throttled period or
	// one scheduling slice decides the share. Chosen, not measured.
	minWindow = 0.5 // seconds

	// minDuration keeps a share of next to nothing from being a cause: a target
	// that is active for 20 ms and waits for half of them has lost 10 ms. "asleep",
	// "asleep on a saturated machine" and "idle pool in futex" read 0 ms active; a
	// sleeping Go process 6 ms in 20 s.
	minDuration = 50.0 // ms in 3 s

	// throttledShare: "throttled alone" (a loop with a quota of 0.3) reads 61 to
	// 77%, "throttled on a saturated machine" 29 to 46%; "quota not reached on a
	// saturated machine" reads 0.0%, and 1.9% when the target's quota was
	// reached in 2 of 34 periods.
	throttledShare = 0.05

	// saturatedShare of waiting behind others: with a neighbour of the same weight
	// on its CPU the target reads 47 to 55%, throttled besides 28 to 30%; a busy
	// loop that the scheduler can move to a free CPU 2 to 8%, and up to 17% while
	// both CPUs are taken for a part of the window.
	saturatedShare = 0.20
	// saturatedOthers is the part of the target's CPUs that others must hold for
	// its waiting to be their doing. In the experiments they hold 75% and more;
	// an agent and its kernel threads hold 0.5%.
	saturatedOthers = 0.25

	// busyUse of the window, ran or waited for a CPU: a busy loop reads 99 to 100%.
	// What is between this and a service at its ease is not known yet.
	busyUse = 0.85
	// busyShare: being on a CPU dominates. A busy loop reads 83 to 98%.
	busyShare = 0.50
	// queueShare of waiting behind the target's own threads: "more threads than
	// CPUs" (8 on 2) reads 75%, "two threads on one CPU" 50%.
	queueShare = 0.20

	// blockedShare of I/O or of kernel locks over which a diagnosis is not clean,
	// although no probe names their cause yet. As saturatedShare, until one does.
	blockedShare = 0.20

	// idleShare of one CPU: below it the target did next to nothing.
	idleShare = 0.02

	// ledgerError is how far the ledger may be from threads x window, the 1% that
	// bpf/threads is tested for, and ledgerSlack (ms) the same for ledgers of
	// next to nothing.
	ledgerError = 0.01
	ledgerSlack = 1.0
)
