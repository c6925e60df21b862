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
	// saturatedDuration (ms in 3 s) is above minDuration: beside busy neighbours a
	// Redis with next to nothing to do waited 68 of 172 ms, a few switches' worth.
	saturatedDuration = 150.0
	// saturatedOthers is the part of the target's CPUs that others must hold for
	// its waiting to be their doing. In the experiments they hold 75% and more;
	// an agent and its kernel threads hold 0.5%.
	saturatedOthers = 0.25

	// saturatedIdle of the node's CPUs without work: of ten saturated targets in the lab,
	// those that may run on both CPUs read 0%, the others are pinned. A Redis at its
	// ease in an emulated VM waits for 26%, beside others with 29% of the CPUs, and 58%
	// are idle: whatever it waits for, it is not others' work. Nor is a target busy whose
	// own threads queue then: a work queue in batches leaves 64% idle there.
	saturatedIdle = 0.5

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

	// diskShare of waiting for block I/O: a loop of commits (fsync) reads 15 to 34%
	// beside other work, 97 to 99% under an I/O limit.
	diskShare = 0.20
	// diskSlow is the mean time of a request (ms), and diskThread the part of a
	// thread's time, of which one must be reached: 20 commits a second read 0.7 ms
	// and 4 to 13%, a loop of commits 0.1 to 0.5 ms and 21 to 47% on a machine whose
	// CPUs are taken, requests under an I/O limit 95 to 100%.
	diskSlow   = 10.0
	diskThread = 0.30
	// diskWitness is the part of the wait that the requests of the target and of the
	// journal must have taken: loops read 127 to 219%, under an I/O limit the
	// target's own read 0.3%.
	diskWitness = 0.5
	// limitUsed of an I/O limit: one that holds back reads 100 to 115%.
	limitUsed = 0.8

	// reclaimShare: a mapped file of 64 MB in a group with 24 reads 7 to 12% on a
	// machine whose CPUs are taken, and 46% of what is left without that wait; with
	// enough memory 0%.
	reclaimShare = 0.10
	// refaultPart of the bytes that were read: when so much had been in memory just
	// before, waiting for the disk is want of memory. Chosen; thrashing reads 100%.
	refaultPart = 0.5
	// refaultsMin pages in 3 s: the same reads 160,000 to 240,000, a machine with
	// enough memory 1 to 134.
	refaultsMin = 200.0

	// kernelLockShare, from one to three runs each, of sleeping and spinning for kernel locks: four threads on two
	// CPUs that map memory read 14 to 25%, that write one file 25 to 45%, that use one
	// pipe 45 to 60% (most of it spinning); busy loops and futex convoys under 1%.
	kernelLockShare = 0.10
	// lockWitness is the part of what the one witness says that the other must say.
	// The probe reads 100 to 230% of the ledger's kernel_lock (it counts until the
	// thread runs again), the ledger 100 to 105% of a convoy's waits.
	lockWitness = 0.5

	// userLockShare and userLockTime (ms in 3 s), from one to three runs each, of waiting for locks that threads
	// hand to each other: four threads that hold one for 2 to 3 ms at a time read 60
	// to 75%, that compute as long outside of it 35 to 45%, ten times as long under
	// 10%. A Python queue with four workers at a third of a CPU reads up to 22% on its
	// interpreter lock. A lock hardly used, by a target with next to nothing to do,
	// reads 192 ms and 52%: hence a time as long.
	userLockShare = 0.30
	userLockTime  = 300.0
	// userLockHad of the window somebody waited: the weakest convoys of the lab on three
	// kernels read 17 to 20%, a lock hardly used 4 to 12%.
	userLockHad = 0.15
	// Which address is a lock: TestConvoy, TestNotALock and those in C of bpf/futex.
	// Of a lock's wakes 99 to 100% are by threads that wait there too, 60% where they live
	// for one turn each, on an emulated machine under 50% (work queues 0%, their own little mutex 22%), none of many (barriers 100%), the word is the same
	// and not 0 in 100% of the waits (a self-feeding pool 0%, a barrier 1%), and
	// somebody had it in 93 to 120% of the time with a waiter.
	wakesByWaiters = 0.35
	wokenOfMany    = 0.5
	sameWord       = 0.9
	heldShare      = 0.5
	minWakes       = 10.0
	// fewWakes are enough for a doubt: SQLite on an emulated machine, four threads that
	// held its lock for 0.3 s in turn, reads 9. Chosen.
	fewWakes = 3.0
	// minLooks at a Java virtual machine that found a waiter; there are about 100 in
	// 3 s, 30 of one with 1000 threads. Chosen: a single look proves no lasting wait.
	minLooks = 5.0

	// idleShare of one CPU: below it the target did next to nothing.
	idleShare = 0.02

	// ledgerError is how far the ledger may be from threads x window, the 1% that
	// bpf/threads is tested for, and ledgerSlack (ms) the same for ledgers of
	// next to nothing.
	ledgerError = 0.01
	ledgerSlack = 1.0

	// stealShare of what the hypervisor took of the target's time, stealDuration (ms in
	// 3 s): 257 windows of 3 s on this busy machine read 1% stolen at the median, 6%
	// in nine of ten, 14% in 99 of 100 and 21% at most; 40% was seen on other days.
	// No window with more was caught since: that it confirms is tested with made figures.
	// stealTicks (ms) are ten of the hundredths of a second that /proc/stat counts.
	stealShare    = 0.25
	stealDuration = 300.0
	stealTicks    = 100.0

	// minSamples of a profile before it says anything: with 20, a part of one half is
	// known to 11%. minHot of them in one function, or it is not worth a word.
	minSamples = 20
	minHot     = 0.05

	// retransmitMin segments and retransmitRate of those sent must be retransmitted.
	// One window each of four clients on loopback, the machine saturated by others:
	// of the segments to the server 10% dropped reads 9%, 2% dropped reads 1.3% (close
	// to the threshold), of the answers 10% dropped reads 3% at the client and 11% at
	// the server. 1400 requests without a loss read nothing. Chosen from these, not
	// measured: what a real network at its ease reads.
	retransmitMin  = 3
	retransmitRate = 0.01
	// retransmitShare of the base: the same windows read 83, 39, 56 and 96%.
	retransmitShare = 0.10

	// peerAnswers completed answers and peerSlow ms on average. One window each, the
	// machine saturated: a service that answers at once reads 0.9 ms (longest 268 ms),
	// one that takes 40 ms reads 52 ms. Losses of answers read 20 ms on average and
	// 0.06 ms at the median, which is why the median counts too.
	peerAnswers = 3
	peerSlow    = 15.0
	// peerTail answers that take peerSlow and more make a slow peer also where most
	// come at once: one that delays each tenth by 250 ms reads 0.1 ms at the median and
	// 27 on average. Fewer may be a worker's poll. Chosen.
	peerTail = 8
	// peerShare of the base: the service that takes 40 ms reads 78%.
	peerShare = 0.20
	// peerPoll ms on average and above may be a long poll (Kafka's fetch waits for 500
	// ms by default), unless the target's clients wait too, for clientsShare of the
	// time. Both chosen, not measured.
	peerPoll     = 400.0
	clientsShare = 0.5
	// pollShare of the window for which a request is open without an answer. Chosen.
	pollShare = 0.5

	// dbLockShare of the base and dbLockDuration (ms in 3 s), both chosen: a backend that waits for
	// a row lock for the whole window reads 100% and 3000 ms; four clients that update
	// one row as fast as they can 2 to 10% of their time. pg_sleep and a long scan
	// read nothing.
	dbLockShare    = 0.10
	dbLockDuration = 300.0

	// gcShare of what the application's threads wanted and gcDuration (ms in 3 s), both
	// chosen: a heap of 64 MB that is nearly full stands still for 67 to 90% of the
	// window, by each witness, and reads 35 to 50% as a share; threads
	// that compute, wait for each other's locks or sleep read nothing.
	gcShare    = 0.10
	gcDuration = 300.0
	// pauseLocked is by how much longer than the pauses such a lock is waited for: an
	// emulated machine read 1.19, where threads that have it wait for a CPU.
	pauseLocked = 1.3
	// pauseLock of an average pause: a lock held for that long is waited for because
	// of the collection. HotSpot's reads 74, 99, 79 and 49% (Serial, Parallel, Serial
	// under a quota, G1).
	pauseLock = 0.4
	// gcTolerance is how far two witnesses may be apart. Against the virtual machine's
	// own log: tracepoints within 1% (G1: 4%), counters within 4% (G1: 16%,
	// they leave out what surrounds a collection), stalls within 15%.
	gcTolerance = 0.30
)
