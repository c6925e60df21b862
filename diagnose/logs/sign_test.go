package logs

import (
	"slices"
	"testing"

	"github.com/kmend/kmend/incident"
)

// What programs themselves write, and what it says of each cause when it is new.
func TestStance(t *testing.T) {
	for line, want := range map[string]map[incident.Cause]incident.Stance{
		"java.lang.OutOfMemoryError: Java heap space":                                         {incident.MemOOM: incident.Supports, incident.MemReclaim: incident.Supports},
		"Memory cgroup out of memory: Killed process 4711 (java) total-vm:4711kB":             {incident.MemOOM: incident.Supports, incident.MemReclaim: incident.Supports},
		"ERROR:  deadlock detected":                                                           {incident.DBLockWait: incident.Supports, incident.LockUser: incident.Supports},
		"LOG:  process 4711 still waiting for ShareLock on transaction 742 after 1000.105 ms": {incident.DBLockWait: incident.Supports, incident.LockUser: incident.Supports},
		"ERROR 1205 (HY000): Lock wait timeout exceeded; try restarting transaction": {incident.DBLockWait: incident.Supports, incident.LockUser: incident.Supports,
			incident.NetPeerSlow: incident.Supports, incident.NetRetransmit: incident.Supports},
		"Get \"http://stock:8080/\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)": {incident.NetPeerSlow: incident.Supports, incident.NetRetransmit: incident.Supports},
		"read tcp 10.0.0.1:5->10.0.0.2:80: connection reset by peer":                                             {incident.NetPeerSlow: incident.Supports, incident.NetRetransmit: incident.Supports},
		"dial tcp 10.0.0.2:80: connect: connection refused":                                                      {incident.NetPeerSlow: incident.Contradicts, incident.NetRetransmit: incident.Contradicts},
		"blk_update_request: I/O error, dev sda, sector 4711":                                                    {incident.DiskLatency: incident.Supports},
		"WAL fsync took 1.2s":      {incident.DiskLatency: incident.Supports},
		"slow fdatasync took 2.1s": {incident.DiskLatency: incident.Supports},
		"[gc] GC(7) Pause Full (Ergonomics) 512M->400M(512M) 900.123ms": {incident.JVMGCPause: incident.Supports, incident.CPUBusy: incident.Contradicts},
		"panic: runtime error: invalid memory address or nil pointer dereference": {incident.NetPeerSlow: incident.Contradicts, incident.NetRetransmit: incident.Contradicts,
			incident.CPUBusy: incident.Contradicts, incident.CPUThrottled: incident.Contradicts, incident.CPUSaturated: incident.Contradicts},
		"Started ShopApplication in 12.3 seconds": {incident.NetPeerSlow: incident.Contradicts, incident.NetRetransmit: incident.Contradicts,
			incident.CPUBusy: incident.Contradicts, incident.CPUThrottled: incident.Contradicts, incident.CPUSaturated: incident.Contradicts},
		"x509: certificate has expired or is not yet valid": {incident.NetPeerSlow: incident.Contradicts, incident.NetRetransmit: incident.Contradicts},
		"GET /cart 200 in 3ms":                              {},
		"waiting for orders":                                {},
		"no problem found, memory is fine":                  {},
	} {
		for _, c := range incident.Causes() {
			if got := stance(signsOf(line), true, c); got != want[c] {
				t.Errorf("%q says %q of %s; want %q", line, got, c, want[c])
			}
			// What was there before explains no alert; what supports does so all the same.
			if old := stance(signsOf(line), false, c); old == incident.Contradicts || (old == incident.Supports) != (want[c] == incident.Supports) {
				t.Errorf("%q says %q of %s although it is not new", line, old, c)
			}
		}
	}
	for c := range bearing {
		if !slices.Contains(incident.Causes(), c) {
			t.Errorf("%s is no cause", c)
		}
	}
}
