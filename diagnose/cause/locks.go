package cause

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kmend/kmend/incident"
)

// Evidence of the probe locks, in ms unless said otherwise: sleep and spin, the time
// that the target's threads waited for contended kernel locks, off the CPU (until
// they ran again) and on it. By class of lock ("mmap_lock"), the five with the
// longest waits: lock_sleep (with the kernel's stack of most of it), lock_spin,
// lock_waits (waits), lock_longest, and lock_holder, whose subject is "CLASS held by
// COMM (PID)": how long was waited for the thread that was waited for longest.

// kernelLocks: threads waited for locks inside the kernel. The ledger says how long
// they slept; the probe says for what, and how long they spun, which the ledger has
// as being on a CPU.
func kernelLocks(f facts) []incident.Finding {
	blockedFor := f.state(incident.KernelLock)
	if !worked(f.m, "locks") {
		if fd, ok := blocked(f, incident.KernelLock); ok {
			return []incident.Finding{fd}
		}
		return nil
	}
	slept, _ := f.find("locks", "sleep")
	spun, _ := f.find("locks", "spin")
	spin := min(spun.Value+f.rwsemSpin(), f.state(incident.OnCPU))
	lost := blockedFor + spin
	if !f.over(lost, kernelLockShare) {
		return nil
	}
	fd := incident.Finding{
		Cause:     incident.LockKernel,
		Verdict:   incident.Confirmed,
		Share:     f.share(lost),
		Threshold: f.threshold(kernelLockShare),
		Evidence:  append(f.cite("kernel_lock", "on_cpu", "active"), append(f.citeFrom("locks", "sleep", "spin"), f.citeOf("profile", "rwsem_spin")...)...),
	}
	said := fmt.Sprintf("waited for kernel locks %s of %s ms%s", ms(lost), ms(f.base), f.inThreads())
	if spin >= 0.05*lost {
		said += fmt.Sprintf(", spinning for %s of them", ms(spin))
	}
	if slept.Value < lockWitness*blockedFor {
		fd.Cause, fd.Verdict, fd.Threshold = "", incident.Inconclusive, ""
		fd.Message = fmt.Sprintf("%s, of which the probe locks saw %s ms asleep: the waits began before the window, or the two do not agree", said, ms(slept.Value))
		return []incident.Finding{fd}
	}
	var named []string
	for _, c := range f.kernelClasses() {
		if len(named) == 0 || c.wait() >= 0.1*lost {
			named = append(named, c.String())
			fd.Evidence = append(fd.Evidence, c.evidence...)
		}
	}
	fd.Message = said
	if len(named) > 0 {
		fd.Message += ": " + strings.Join(named, "; ")
	}
	return []incident.Finding{fd}
}

// rwsemSpin is how long threads spun for semaphores of the kernel, in ms, by samples:
// they have no tracepoint for it.
func (f facts) rwsemSpin() float64 {
	samples, _ := f.find("profile", "samples")
	spin, _ := f.find("profile", "rwsem_spin")
	if samples.Value < minSamples {
		return 0
	}
	return spin.Value / 100 * f.state(incident.OnCPU)
}

// kernelClass is a class of kernel locks, in ms.
type kernelClass struct {
	name                        string
	sleep, spin, waits, longest float64
	where, holder               string
	evidence                    []string
}

func (c kernelClass) wait() float64 { return c.sleep + c.spin }

func (c kernelClass) String() string {
	s := fmt.Sprintf("%s %s ms in %.0f waits, the longest %s ms", c.name, ms(c.wait()), c.waits, short(c.longest))
	if c.where != "" && !strings.HasSuffix(c.name, c.where) {
		s += ", in " + c.where
	}
	if c.holder != "" {
		s += ", mostly held by " + c.holder
	}
	return s
}

func (f facts) kernelClasses() (out []kernelClass) {
	for _, e := range f.m.Evidence {
		if e.Probe != "locks" || e.Subject == "" {
			continue
		}
		name, holder, _ := strings.Cut(e.Subject, " held by ")
		i := slices.IndexFunc(out, func(c kernelClass) bool { return c.name == name })
		if i < 0 {
			i = len(out)
			out = append(out, kernelClass{name: name})
		}
		c := &out[i]
		switch e.Metric {
		case "lock_sleep":
			c.sleep, c.where = e.Value, systemCall(e.Stack)
		case "lock_spin":
			c.spin = e.Value
		case "lock_waits":
			c.waits = e.Value
		case "lock_longest":
			c.longest = e.Value
		case "lock_holder":
			c.holder = holder
		default:
			continue
		}
		if e.ID != "" {
			c.evidence = append(c.evidence, e.ID)
		}
	}
	slices.SortStableFunc(out, func(a, b kernelClass) int { return int(1e3*b.wait()) - int(1e3*a.wait()) })
	return out
}

// systemCall is the system call, or else the fault, in which a kernel stack is.
func systemCall(stack []string) string {
	for _, s := range stack {
		name, _ := frame(s)
		for _, prefix := range []string{"__x64_sys_", "__arm64_sys_", "__se_sys_", "__do_sys_", "ksys_"} {
			if call, ok := strings.CutPrefix(name, prefix); ok {
				return call
			}
		}
		if strings.HasSuffix(name, "exc_page_fault") || name == "do_user_addr_fault" {
			return "page faults"
		}
	}
	return ""
}

// frame splits "sqlite3_step (libsqlite3.so.0)". The function of one without a name
// is empty.
func frame(s string) (function, module string) {
	if i := strings.LastIndex(s, " ("); i >= 0 { // a C++ name may have one too
		function, module = s[:i], strings.TrimSuffix(s[i+2:], ")")
	}
	if strings.HasPrefix(function, "0x") {
		function = ""
	}
	return function, module
}
