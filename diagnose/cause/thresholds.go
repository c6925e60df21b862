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

	// diskShare of waiting for block I/O: a loop of commits (fsync) reads 24 to 90%,
	// 20 commits a second of an idle thread 37 to 70% of next to nothing.
	diskShare = 0.20
	// diskSlow is the mean time of a request (ms), and diskThread the part of a
	// thread's time, of which one must be reached: 20 commits a second read 0.7 ms
	// and 7%, the loop of commits 0.1 ms and 37% on a busy machine and 90% on a free
	// one, 20 requests a second by a limit 50 ms and 99%.
	diskSlow   = 10.0
	diskThread = 0.30
	// diskWitness is the part of the wait that the requests of the target and of the
	// journal must have taken: loops read 150 to 190%, a limit leaves 0 to 5%.
	diskWitness = 0.5
	// limitUsed of an I/O limit: one that holds back reads 95 to 120%.
	limitUsed = 0.8

	// reclaimShare: a mapped file in a group with a third of its size reads 40 to 90%.
	reclaimShare = 0.10
	// refaultsMin pages in 3 s: the same reads thousands, a machine at its ease
	// tens.
	refaultsMin = 200.0

	// idleShare of one CPU: below it the target did next to nothing.
	idleShare = 0.02

	// ledgerError is how far the ledger may be from threads x window, the 1% that
	// bpf/threads is tested for, and ledgerSlack (ms) the same for ledgers of
	// next to nothing.
	ledgerError = 0.01
	ledgerSlack = 1.0

	// stealShare, stealDuration (ms in 3 s) and stealTicks (ms): see docs/diagnosis.md.
	stealShare    = 0.25
	stealDuration = 300.0
	stealTicks    = 100.0

	// minSamples of a profile before it says anything: with 20, a part of one half is
	// known to 11%. minHot of them in one function, or it is not worth a word.
	minSamples = 20
	minHot     = 0.05
)
