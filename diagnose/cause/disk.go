package cause

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kmend/kmend/incident"
)

// Evidence of the probe disk, by device ("vda") in ms or requests unless said
// otherwise. Of the target: requests, reads, writes, flushes, bytes; queue and
// service (from queued to issued to the device, and to completed) with their
// spread, _mean, _p50 and _p99; longest; pending, pending_time, pending_oldest
// (not complete when the window ended). Of kernel threads, its journal's among
// them: kernel_requests, kernel_flushes, kernel_queue, kernel_service with _mean,
// _p50 and _p99, kernel_pending and its times. Of all others: others_requests,
// others_bytes, others_service (as above), and neighbour "DEVICE GROUP (COMM)".
// By "GROUP DEVICE", in bytes/s or requests/s: limit_ and used_ with rbps, wbps,
// riops and wiops, as io.max names them.

// storage: threads waited for block I/O, and either the device took that long for
// it or an I/O limit of a cgroup held it back. That database which waits for its
// few commits is none: here the waits are long or make up most of a thread's time.
func storage(f facts) []incident.Finding {
	io := f.state(incident.IO)
	if !f.over(io, diskShare) {
		return nil
	}
	if f.m.Window.Recorded && worked(f.m, "recorder") {
		return f.recordedStorage(io)
	}
	if !worked(f.m, "disk") {
		fd, _ := blocked(f, incident.IO)
		return []incident.Finding{fd}
	}
	devices := f.devices()
	var own, journal float64
	var slowest device
	for _, d := range devices {
		own, journal = own+d.own(), journal+d.journal()
		if d.own()+d.journal() > slowest.own()+slowest.journal() {
			slowest = d
		}
	}
	limit, held := f.ioLimit()
	held = held && own < diskWitness*io
	unseen := f.refaultsUnseen()
	if f.rereads() && slowest.service < diskSlow*slowest.requests {
		return nil // it is in mem.reclaim: the disk is quick, and asked too often
	}
	if !held && !unseen && slowest.mean() < diskSlow && !f.aThreadIn(incident.IO, diskThread) {
		return nil
	}
	fd := incident.Finding{
		Cause:     incident.DiskLatency,
		Verdict:   incident.Confirmed,
		Share:     f.share(io),
		Threshold: f.threshold(diskShare) + fmt.Sprintf(", and %.0f ms a request or %.0f%% of a thread's time", diskSlow, 100*diskThread),
		Evidence:  f.cite("io", "active"),
	}
	said := fmt.Sprintf("blocked on I/O %s of %s ms%s", ms(io), ms(f.base), f.inThreads())
	switch {
	case held:
		fd.Threshold = f.threshold(diskShare) + fmt.Sprintf(", and %.0f%% of an I/O limit used", 100*limitUsed)
		fd.Message = said + ", held back by " + limit.String()
		fd.Evidence = append(fd.Evidence, limit.evidence...)
	case unseen:
		fd.Cause, fd.Verdict, fd.Threshold = "", incident.Inconclusive, ""
		fd.Message = said + ": disk.latency or mem.reclaim, which cannot be told apart on this node: pages that reclaim took are read anew, and the kernel does not mark who waits for them (boot it with psi=1)"
		fd.Evidence = append(fd.Evidence, f.citeFrom("memory", "psi_off", "refaults")...)
	case own+journal < diskWitness*io:
		fd.Cause, fd.Verdict, fd.Threshold = "", incident.Inconclusive, ""
		fd.Message = fmt.Sprintf("%s, of which disks explain %s ms: it waits for something else, as a network file system", said, ms(own+journal))
		fd.Evidence = append(fd.Evidence, f.citeFrom("disk", "queue", "service")...)
	case slowest.neighbours():
		fd.Message = fmt.Sprintf("%s: %s, which is busy for others: %s", said, slowest, strings.Join(slowest.names, ", "))
		fd.Evidence = append(fd.Evidence, slowest.evidence...)
	default:
		fd.Message = fmt.Sprintf("%s: %s", said, slowest)
		fd.Evidence = append(fd.Evidence, slowest.evidence...)
	}
	return []incident.Finding{fd}
}

// recordedStorage knows how many requests the target completed and how long they
// took, on all devices together: block_requests, block_time in ms, and kernel_ of
// both for all kernel threads, with the probe recorder. That is enough for a disk
// that takes its time, and not for a quick one that is asked too often or for I/O
// that a limit held back.
func (f facts) recordedStorage(io float64) []incident.Finding {
	value := func(metric string) float64 { e, _ := f.find("recorder", metric); return e.Value }
	requests, own := value("block_requests"), value("block_time")
	kernel, journal := value("kernel_block_requests"), value("kernel_block_time")
	fd := incident.Finding{
		Verdict:  incident.Inconclusive,
		Share:    f.share(io),
		Evidence: append(f.cite("io", "active"), f.citeFrom("recorder", "block_requests", "block_time", "kernel_block_requests", "kernel_block_time")...),
		Message:  fmt.Sprintf("blocked on I/O %s of %s ms%s", ms(io), ms(f.base), f.inThreads()),
	}
	took := fmt.Sprintf("%.0f requests took %s ms on average", requests, short(own/max(1, requests)))
	switch {
	case requests == 0 || own+journal < diskWitness*io:
		fd.Message += fmt.Sprintf(", of which disks explain %s ms: an I/O limit held it back, or it waits for something else, as a network file system", ms(own+journal))
	case own < diskSlow*requests:
		fd.Message += fmt.Sprintf(": %s: the disk is quick; disk.latency or mem.reclaim, which only a live window tells apart", took)
	default:
		fd.Cause, fd.Verdict = incident.DiskLatency, incident.Confirmed
		fd.Threshold = f.threshold(diskShare) + fmt.Sprintf(", and %.0f ms a request", diskSlow)
		fd.Message += ": " + took
		if kernel > 0 {
			fd.Message += fmt.Sprintf(", and %s ms each of %.0f of the kernel's, its journals among them", short(journal/kernel), kernel)
		}
	}
	return []incident.Finding{fd}
}

// device is one disk: times in ms.
type device struct {
	name                                string
	requests, queue, service, pending   float64
	kernel, kernelQueue, kernelService  float64
	kernelPending, p99, others, longest float64
	open                                float64 // requests not complete at the end
	names                               []string
	evidence                            []string
}

func (f facts) devices() (out []device) {
	of := func(name string) *device {
		i := slices.IndexFunc(out, func(d device) bool { return d.name == name })
		if i < 0 {
			i = len(out)
			out = append(out, device{name: name})
		}
		return &out[i]
	}
	for _, e := range f.m.Evidence {
		if e.Probe != "disk" || strings.HasPrefix(e.Metric, "limit_") || strings.HasPrefix(e.Metric, "used_") {
			continue
		}
		name, who, _ := strings.Cut(e.Subject, " ")
		d := of(name)
		to := map[string]*float64{
			"requests": &d.requests, "queue": &d.queue, "service": &d.service, "longest": &d.longest,
			"pending": &d.open, "pending_time": &d.pending, "service_p99": &d.p99,
			"kernel_requests": &d.kernel, "kernel_queue": &d.kernelQueue, "kernel_service": &d.kernelService,
			"kernel_pending_time": &d.kernelPending, "others_service": &d.others,
		}[e.Metric]
		switch {
		case to != nil:
			*to = e.Value
		case e.Metric == "neighbour":
			d.names = append(d.names, fmt.Sprintf("%s %s ms", who, ms(e.Value)))
		default:
			continue
		}
		if e.ID != "" {
			d.evidence = append(d.evidence, e.ID)
		}
	}
	return out
}

// own is how long the target's requests took, one after the other.
func (d device) own() float64 { return d.queue + d.service + d.pending }

// journal is what kernel threads did on a device that the target uses, for it or
// for others: a commit waits for it.
func (d device) journal() float64 {
	if d.requests+d.open == 0 {
		return 0
	}
	return d.kernelQueue + d.kernelService + d.kernelPending
}

// mean of a request of the target's, those that are not complete included.
func (d device) mean() float64 { return d.own() / max(1, d.requests+d.open) }

// neighbours reports whether others have the device for half of the time that it
// works, so that the target's requests wait for theirs.
func (d device) neighbours() bool {
	return len(d.names) > 0 && d.others >= d.service+d.kernelService && d.others > 0
}

func (d device) String() string {
	s := fmt.Sprintf("%s took %s ms for a request on average (%.0f requests", d.name, short(d.mean()), d.requests)
	if d.requests > 0 {
		s += fmt.Sprintf(": queue %s, service %s, 99%% of them below %s", short(d.queue/d.requests), short(d.service/d.requests), short(d.p99))
	}
	if d.open > 0 {
		s += fmt.Sprintf("; %.0f not complete", d.open)
	}
	s += ")"
	if d.journal() > 0 && d.kernel > 0 {
		s += fmt.Sprintf(" and %s ms for each of %.0f of the kernel's, its journal among them", short(d.journal()/d.kernel), d.kernel)
	}
	return s
}

// rereads reports whether most of what the target read from disks had been in
// memory until shortly before: it has too little of that.
func (f facts) rereads() bool {
	var requests, reads, bytes, again float64
	for _, e := range f.m.Evidence {
		switch {
		case e.Probe == "disk" && e.Metric == "requests":
			requests += e.Value
		case e.Probe == "disk" && e.Metric == "reads":
			reads += e.Value
		case e.Probe == "disk" && e.Metric == "bytes":
			bytes += e.Value
		case e.Probe == "memory" && e.Metric == "refaults":
			again = max(again, e.Value) // those above count the same
		}
	}
	return reads > 0 && reads >= 0.5*requests && again >= refaultsMin*f.window/3000 &&
		again*pageSize >= refaultPart*bytes && !f.refaultsUnseen()
}

// pageSize is that of x86_64 and of most arm64 kernels, in bytes.
const pageSize = 4096

// ioLimit is an I/O limit of a cgroup of which the most was used: io.max, or what
// v1 has for it in blkio.throttle.*_device.
type ioLimit struct {
	group, device, kind string
	limit, used         float64 // a second
	evidence            []string
}

func (l ioLimit) String() string {
	unit := "requests/s"
	if strings.HasSuffix(l.kind, "bps") {
		unit = "bytes/s"
	}
	return fmt.Sprintf("io.max of %s: %s of %.0f %s on %s, it used %.0f", group(l.group), l.kind, l.limit, unit, l.device, l.used)
}

// ioLimit finds the limit that is used most; ok when it is used up.
func (f facts) ioLimit() (best ioLimit, ok bool) {
	for _, e := range f.m.Evidence {
		kind, isLimit := strings.CutPrefix(e.Metric, "limit_")
		if e.Probe != "disk" || !isLimit || e.Value <= 0 {
			continue
		}
		i := slices.IndexFunc(f.m.Evidence, func(u incident.Evidence) bool {
			return u.Probe == "disk" && u.Metric == "used_"+kind && u.Subject == e.Subject
		})
		if i < 0 {
			continue
		}
		u := f.m.Evidence[i]
		if at := strings.LastIndexByte(e.Subject, ' '); at >= 0 && (best.limit == 0 || u.Value/e.Value > best.used/best.limit) {
			best = ioLimit{e.Subject[:at], e.Subject[at+1:], kind, e.Value, u.Value, ids(e, u)}
		}
	}
	return best, best.limit > 0 && best.used >= limitUsed*best.limit
}

func ids(es ...incident.Evidence) (out []string) {
	for _, e := range es {
		if e.ID != "" {
			out = append(out, e.ID)
		}
	}
	return out
}

// aThreadIn reports whether some thread was in a state for a part of its time.
func (f facts) aThreadIn(s incident.State, part float64) bool {
	return slices.ContainsFunc(f.m.Ledger.Top, func(t incident.ThreadLedger) bool {
		return t.States[s] >= part*f.window
	})
}

// citeFrom gives the ids of a probe's evidence for these metrics.
func (f facts) citeFrom(probe string, metrics ...string) (out []string) {
	for _, e := range f.m.Evidence {
		if e.Probe == probe && e.ID != "" && slices.Contains(metrics, e.Metric) {
			out = append(out, e.ID)
		}
	}
	return out
}

// short is a number of ms that may be small.
func short(v float64) string {
	switch {
	case v < 0.1:
		return fmt.Sprintf("%.3f", v)
	case v < 10:
		return fmt.Sprintf("%.1f", v)
	}
	return ms(v)
}
