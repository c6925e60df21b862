package cause

// The thresholds of every cause. A share is a part of the target's active time
// (every state but sleep and user_lock, added up over its threads). Durations
// are for a window of 3 s and scale with the window.
//
// Each one names the experiment that set it; TestThresholds in diagnose/agent
// runs them on the kernel of this machine and prints the figures again:
//
//	go test -run TestThresholds -v ./diagnose/agent
const (
	// minWindow: below five CFS periods of 100 ms a single throttled period or a
	// single scheduling slice decides the share.
	minWindow = 0.5 // seconds

	// minDuration keeps a share of next to nothing from being a cause: a target
	// that is active for 20 ms in 3 s and waits for half of them has lost 10 ms.
	// Idle shells and daemons on a machine at full load wait 1 to 15 ms in 3 s.
	minDuration = 50.0 // ms in 3 s

	// throttledShare: a group that stays under its quota reads 0.0% (experiment
	// "quota not reached"), one that hits it in 3 of 30 periods reads 5 to 8%.
	throttledShare = 0.05

	// saturatedShare of waiting behind others: a thread alone on a quiet machine
	// waits under 1%, beside one compiler on 2 CPUs 3 to 12% (it is moved to the
	// other CPU), and beside as many burners as CPUs 25% and more.
	saturatedShare = 0.20
	// saturatedOthers is the part of the target's CPUs that others must hold for
	// its waiting to be their doing. Background daemons hold under 5%.
	saturatedOthers = 0.25

	// busyUse: a busy loop alone is on CPU for 97 to 100% of the window; the rest
	// is interrupts and the neighbours it is entitled to be moved away from.
	busyUse = 0.85
	// busyShare: on CPU and queueing behind its own threads dominate.
	busyShare = 0.50
	// queueShare of waiting behind the target's own threads: 3 threads on 2 CPUs
	// read 33%, 2 on 2 under 5%.
	queueShare = 0.20

	// blockedShare of I/O or of kernel locks over which a diagnosis is not clean,
	// although no probe names their cause yet.
	blockedShare = 0.20

	// idleShare of one CPU: below it the target did next to nothing.
	idleShare = 0.02

	// ledgerError is how far the ledger may be from threads x window, and
	// ledgerSlack (ms) the same for ledgers of next to nothing.
	ledgerError = 0.01
	ledgerSlack = 1.0
)
