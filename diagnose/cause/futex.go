package cause

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kmend/kmend/incident"
)

// Evidence of the probe futex, for up to four addresses ("0x7f3a of redis (123)")
// whose wakers are also waiters, longest wait first. In ms: lock_wait, summed over
// threads; lock_contended, with at least one waiter; lock_held, of that the time
// from when a thread was woken there until it woke the next; lock_longest_wait and
// lock_longest_held. lock_waiters (threads); lock_waits, lock_waits_same (for the
// word to change from one value that is not 0, or by FUTEX_LOCK_PI) and
// lock_waits_unwoken (ended by a timer or a signal) (waits); lock_wakes,
// lock_wakes_by_waiters and lock_wakes_of_many (wakes). lock_waiter and lock_holder
// have a stack each and how much of the sampled time it explains.
//
// Java's locks wait at a futex for each thread; its virtual machines themselves say
// which thread waits for which lock, and were looked at many times (java_looks). For
// up to four ("Java monitor (CLASS) 0x7f3a of java (123)"), in ms: java_lock_wait, summed
// over threads, counted while the kernel said that they sleep in futex(2);
// java_lock_contended; java_lock_holder ("... held by COMM (TID)"). java_lock_waiters
// (threads); java_lock_looks with a waiter; java_lock_handed, how often the lock's threads
// woke each other, by the kernel (wakes). "other locks of java (123)" are all that are
// left, with the sum of their waits and looks.

// userLock is one address, with the evidence for it.
type userLock struct {
	subject                                             string
	wait, contended, held                               float64 // ms
	longest, longestHeld                                float64
	waiters, waits, same, unwoken, wakes, own, together float64
	waiter, holder                                      [][]string // stacks
	java                                                bool       // a virtual machine says that it is a lock
	looks                                               float64    // with a waiter
	by                                                  string     // who holds a lock of Java most, and
	byHeld                                              float64    // for how long, ms
	evidence                                            []string
}

// convoy: threads wait for a lock that they hand to each other.
func convoy(f facts) []incident.Finding {
	if fd, ok := stuck(f); ok {
		return append(handedOn(f), fd)
	}
	return handedOn(f)
}

// stuck is a doubt: a lock that is waited for and hardly changes hands. Its
// holder may be stuck in something slow, or its threads wait for work in turns, one of
// them for a connection, say, and the others for the lock.
func stuck(f facts) (fd incident.Finding, ok bool) {
	if !worked(f.m, "futex") {
		return fd, false
	}
	var top userLock
	for _, l := range f.userLocks() {
		if !l.isLock() && l.like(fewWakes) && l.wait > top.wait {
			top = l
		}
	}
	// While a collection stands still nothing changes hands, and that is why.
	lost := min(top.wait-top.waiters*f.stoodStill(top), f.state(incident.UserLock))
	share := lost / max(1, f.base+lost)
	if lost < userLockTime*f.window/3000 || share < userLockShare {
		return fd, false
	}
	return incident.Finding{
		Verdict:  incident.Inconclusive,
		Share:    share,
		Message:  fmt.Sprintf("%s; it changed hands %s: either its holder is stuck, or its threads wait for work in turns, with the lock", top.describe(f.window), plural(top.own, "time")),
		Evidence: append(f.cite("user_lock", "active"), top.evidence...),
	}, true
}

// handedOn are the locks that change hands, as one cause.
func handedOn(f facts) []incident.Finding {
	locks := f.locksHeld()
	wait := sumOf(locks)
	lost := min(wait, f.state(incident.UserLock))
	if lost < userLockTime*f.window/3000 || f.share(lost) < userLockShare {
		return nil
	}
	top, contended := locks[0], 0.0
	for _, l := range locks {
		contended += l.contended
	}
	if !top.java && contended < userLockHad*f.window {
		return nil
	}
	fd := incident.Finding{
		Cause:     incident.LockUser,
		Verdict:   incident.Confirmed,
		Share:     f.share(lost),
		Threshold: fmt.Sprintf("at least %.0f%% and %.0f ms, a waiter for at least %.0f%% of the time, %.0f%% of the wakes by waiters", 100*userLockShare, userLockTime*f.window/3000, 100*userLockHad, 100*wakesByWaiters),
		Message:   top.describe(f.window),
		Evidence:  f.cite("user_lock", "active"),
	}
	if top.java {
		fd.Threshold = fmt.Sprintf("at least %.0f%% and %.0f ms, as the virtual machine says, asleep in futex(2) and woken by each other %.0f times", 100*userLockShare, userLockTime*f.window/3000, minWakes)
	}
	for _, l := range locks {
		fd.Evidence = append(fd.Evidence, l.evidence...)
	}
	if rest := wait - top.wait; rest >= 0.1*wait {
		fd.Message += fmt.Sprintf("; %s ms more on %s", ms(rest), plural(float64(len(locks)-1), "other lock"))
	}
	if f.state(incident.UserLock) < lockWitness*wait {
		fd.Cause, fd.Verdict, fd.Threshold = "", incident.Inconclusive, ""
		fd.Message += fmt.Sprintf(", but the ledger has %s ms in futexes", ms(f.state(incident.UserLock)))
	}
	return []incident.Finding{fd}
}

// convoyed is the time in user_lock that is lost, in ms.
func convoyed(f facts) float64 { return min(sumOf(f.locksHeld()), f.state(incident.UserLock)) }

func sumOf(locks []userLock) (wait float64) {
	for _, l := range locks {
		wait += l.wait
	}
	return wait
}

// locksHeld are the addresses that are locks, longest wait first; what the code
// says is one lock is one, also where it waits at several addresses.
func (f facts) locksHeld() (out []userLock) {
	if !worked(f.m, "futex") {
		return nil
	}
	for _, l := range f.userLocks() {
		if !l.isLock() || f.waitsForCollections(l) {
			continue
		}
		if l.java { // while a collection stands still they lose time to it
			l.wait *= 1 - f.stoodStill(l)/f.window
		}
		i := slices.IndexFunc(out, func(o userLock) bool { return l.named() != nil && o.named() == l.named() && o.process() == l.process() })
		if i < 0 {
			out = append(out, l)
			continue
		}
		o := &out[i]
		o.wait, o.held, o.own, o.waits = o.wait+l.wait, o.held+l.held, o.own+l.own, o.waits+l.waits
		o.waiters = max(o.waiters, l.waiters)
		o.evidence = append(o.evidence, l.evidence...)
	}
	slices.SortStableFunc(out, func(a, b userLock) int { return int(1e3*b.wait) - int(1e3*a.wait) })
	return out
}

// isLock is the rule. Idle pools and work queues fail the first condition: workers
// do not wake each other. A pool that feeds itself, or threads that hand work
// around, do; but their word is 0 or counts on, where a lock's says "held and waited
// for" all the time. A barrier wakes many at once. And while somebody waits for a
// lock, somebody has it: from when it was woken until it wakes the next.
// Figures: thresholds.go.
func (l userLock) isLock() bool { return (!l.java || l.own >= minWakes) && l.like(minWakes) }

// like is isLock of one that changes hands so often.
func (l userLock) like(wakes float64) bool {
	if l.java {
		return l.looks >= minLooks
	}
	if l.waiters < 2 || l.wakes < wakes || l.own < wakesByWaiters*l.wakes {
		return false
	}
	code := l.named()
	if code != nil && code.timed {
		return true
	}
	if l.together > wokenOfMany*l.wakes || l.held < heldShare*l.contended {
		return false
	}
	if code != nil {
		return code.lock
	}
	return l.same >= sameWord*l.waits
}

// waitCode is what a function waits for, where its name says it.
type waitCode struct {
	function string
	within   string // the module that calls it begins so, or anything
	lock     bool
	timed    bool   // it waits in short turns, and gives up the lock only when asked
	what     string // what people call it
}

// waitCodes are looked for in this order: a lock may be made of the others.
// Source: CPython's Python/ceval_gil.h and thread_pthread.h, POSIX.
var waitCodes = []waitCode{
	{function: "take_gil", lock: true, timed: true, what: gil},
	// The same without symbols, as distributions ship it: nothing else in CPython does.
	{function: "pthread_cond_timedwait", within: "python3", lock: true, timed: true, what: gil},
	{function: "pthread_cond_timedwait", within: "libpython3", lock: true, timed: true, what: gil},
	{function: "PyThread_acquire_lock_timed", lock: true, what: "a Python lock"},
	{function: "pthread_cond_"},
	{function: "__pthread_cond_"},
	{function: "pthread_barrier_"},
	{function: "sem_"},
	{function: "pthread_join"},
}

const gil = "Python's global interpreter lock"

// near is how many frames around the system call tell what is waited for.
const near = 5

// named is what the code of its waiters says, or nil.
func (l userLock) named() *waitCode {
	if len(l.waiter) == 0 {
		return nil
	}
	stack := l.waiter[0]
	stack = stack[:min(near, len(stack))]
	for i, code := range waitCodes {
		for k, s := range stack {
			function, _ := frame(s)
			if !strings.HasPrefix(function, code.function) {
				continue
			}
			if code.within == "" {
				return &waitCodes[i]
			}
			if k+1 < len(stack) {
				if _, module := frame(stack[k+1]); strings.HasPrefix(module, code.within) {
					return &waitCodes[i]
				}
			}
		}
	}
	return nil
}

func (l userLock) process() string {
	_, process, _ := strings.Cut(l.subject, " of ")
	return process
}

// describe says it to people.
func (l userLock) describe(window float64) string {
	if l.java {
		return l.describeJava(window)
	}
	what, code := "a lock", l.named()
	if code != nil && code.what != "" {
		what = code.what
	}
	if at := caller(l.waiter); at != "" {
		what += " in " + at
	}
	s := fmt.Sprintf("%.0f threads convoy on %s: waited %s of %s ms", l.waiters, what, ms(l.wait), ms(l.waiters*window))
	if code != nil && code.timed { // how long it was held between two turns is not known
		return s + " (" + l.subject + ")"
	}
	if l.own > 0 && l.held > 0 {
		s += fmt.Sprintf(", held %s ms on average", short(l.held/l.own))
	}
	if by := owner(l.holder); by != "" {
		s += ", by " + by
	}
	return s + " (" + l.subject + ")"
}

func (l userLock) describeJava(window float64) string {
	what, at, _ := strings.Cut(l.subject, " 0x")
	if l.waiters == 0 {
		return fmt.Sprintf("threads waited %s ms for locks of Java, each of them a little (%s)", ms(l.wait), l.subject)
	}
	s := fmt.Sprintf("%s waited %s of %s ms for a %s", plural(l.waiters, "thread"), ms(l.wait), ms(l.waiters*window), what)
	if l.own > 0 {
		s += fmt.Sprintf(", held %s ms on average", short(l.contended/l.own))
	}
	if l.byHeld > l.contended/2 {
		s += ", mostly by " + l.by
	}
	return s + " (0x" + at + ")"
}

// runtimes hold the code of locks, not of who takes them.
var runtimes = []string{"libc.so", "libc-", "libpthread", "ld-linux", "ld-musl", "libstdc++", "libgcc_s", "libjvm.so", "[vdso]", "[unknown]", "[vsyscall]"}

// lockFunctions do the same inside programs.
var lockFunctions = []string{"runtime.", "sync.", "internal/", "syscall.", "golang.org/x/sys/unix.", "take_gil", "drop_gil", "PyThread_", "PyEval_", "_PyEval_", "pthread_", "std::sync", "parking_lot"}

// caller is the first function outside of the C library and the like that waits,
// and where that is: "libsqlite3.so.0 (sqlite3_step)".
func caller(stacks [][]string) string {
	for _, stack := range stacks {
		for _, s := range stack {
			function, module := frame(s)
			if isRuntime(function, module) {
				continue
			}
			if function == "" {
				return module
			}
			return module + " (" + function + ")"
		}
	}
	return ""
}

// owner is the function that gave the lock on, and the program's function that
// called it, where that is another module.
func owner(stacks [][]string) string {
	if len(stacks) == 0 {
		return ""
	}
	first := ""
	for _, s := range stacks[0] {
		function, module := frame(s)
		switch {
		case isRuntime(function, module) || function == "":
		case first == "":
			first = module
			if !strings.Contains(module, ".so") {
				return function + " (" + module + ")"
			}
		case module != first && !strings.Contains(module, ".so"):
			return function + " (" + module + ")"
		}
	}
	return first
}

func isRuntime(function, module string) bool {
	begins := func(s string) func(string) bool {
		return func(prefix string) bool { return strings.HasPrefix(s, prefix) }
	}
	return module == "kernel" || slices.ContainsFunc(runtimes, begins(module)) || slices.ContainsFunc(lockFunctions, begins(function))
}

func (f facts) userLocks() (out []userLock) {
	for _, e := range f.m.Evidence {
		if e.Probe != "futex" || e.Subject == "" {
			continue
		}
		subject, by := e.Subject, ""
		if e.Metric == "java_lock_holder" {
			subject, by, _ = strings.Cut(e.Subject, " held by ")
		}
		i := slices.IndexFunc(out, func(l userLock) bool { return l.subject == subject })
		if i < 0 {
			i = len(out)
			out = append(out, userLock{subject: subject, java: strings.HasPrefix(e.Metric, "java_lock_")})
		}
		l := &out[i]
		if e.ID != "" {
			l.evidence = append(l.evidence, e.ID)
		}
		switch e.Metric {
		case "lock_waiter":
			l.waiter = append(l.waiter, e.Stack)
		case "lock_holder":
			l.holder = append(l.holder, e.Stack)
		case "java_lock_holder":
			l.by, l.byHeld = by, e.Value
		}
		if to := map[string]*float64{
			"lock_wait": &l.wait, "lock_contended": &l.contended, "lock_held": &l.held,
			"lock_longest_wait": &l.longest, "lock_longest_held": &l.longestHeld,
			"lock_waiters": &l.waiters, "lock_waits": &l.waits, "lock_waits_same": &l.same, "lock_waits_unwoken": &l.unwoken,
			"lock_wakes": &l.wakes, "lock_wakes_by_waiters": &l.own, "lock_wakes_of_many": &l.together,
			"java_lock_wait": &l.wait, "java_lock_contended": &l.contended, "java_lock_waiters": &l.waiters,
			"java_lock_looks": &l.looks, "java_lock_handed": &l.own,
		}[e.Metric]; to != nil {
			*to = e.Value
		}
	}
	return out
}
