package logs

import (
	"regexp"
	"slices"
	"strings"

	"github.com/kmend/kmend/incident"
)

// signs is a set of what a line may be a sign of.
type signs uint16

const (
	outOfMemory signs = 1 << iota
	lockWait
	timedOut
	connectionLost
	refused
	slowDisk
	longPause
	crashed
	restarted
	misconfigured
)

// words is by what programs' own words each sign is known: PostgreSQL, MySQL,
// etcd, the JVM, Go, Python, Node.js, the kernel and glibc among them. An
// expression is tried only where one of its hints is in the line's small letters:
// most lines have none.
var words = []struct {
	sign    signs
	hints   []string
	pattern *regexp.Regexp
}{
	{outOfMemory, []string{"memory", "killed process", "oom"},
		regexp.MustCompile(`(?i)\bOutOfMemoryError\b|\bout of memory\b|\bKilled process \d+|\boom[-_ ]?kill|\bcannot allocate memory\b|\bMemoryError\b`)},
	{lockWait, []string{"lock"},
		regexp.MustCompile(`(?i)\bdeadlock (detected|found)\b|\block wait timeout\b|\bstill waiting for \w+Lock\b|\bdue to lock timeout\b|\bcould not obtain lock\b|\bdatabase is locked\b`)},
	{timedOut, []string{"time", "deadline"},
		regexp.MustCompile(`(?i)\btimed[ -]?out\b|\btime-?out\b|TimeoutException\b|\bdeadline exceeded\b|\bETIMEDOUT\b`)},
	{connectionLost, []string{"connection", "econnreset", "pipe", "unexpected eof"},
		regexp.MustCompile(`(?i)\bconnection (was )?(reset|aborted|lost)\b|\bECONNRESET\b|\bbroken pipe\b|\bEPIPE\b|\bunexpected EOF\b`)},
	{refused, []string{"refused", "no such host", "not known", "enotfound"},
		regexp.MustCompile(`(?i)\bconnection refused\b|\bECONNREFUSED\b|\bno such host\b|\bname or service not known\b|\bENOTFOUND\b`)},
	{slowDisk, []string{"i/o error", "sync", "blocked for", "checkpoints"},
		regexp.MustCompile(`(?i)\bI/O error\b|\bfsync\b.{0,40}\b(took|slow|too long)\b|\bslow f(data)?sync\b|\bblocked for more than \d+ seconds\b|\bcheckpoints are occurring too frequently\b`)},
	{longPause, []string{"pause ", "full gc", "gc overhead", "to-space", "stop-the-world"},
		regexp.MustCompile(`\bPause (Full|Young|Remark|Cleanup)\b|\bFull GC\b|(?i:\bGC overhead limit\b|\bto-space exhausted\b|\bstop-the-world\b)`)},
	{crashed, []string{"panic: ", "fatal error: ", "sigsegv", "segmentation", "core dumped", "traceback", "unhandled", "exception in"},
		regexp.MustCompile(`^(panic: |fatal error: )|\bSIGSEGV\b|(?i:\bsegmentation fault\b|\bcore dumped\b|^Traceback \(most recent call last\)|\bunhandled exception\b|\bException in thread "main")`)},
	{restarted, []string{"received sig", "exited", "started ", "database system was", "back-off"},
		regexp.MustCompile(`(?i)\breceived SIG(TERM|INT|QUIT)\b|\bexited with (code|status) [1-9]|\bprocess exited\b|\bstarted \S+ in [0-9.]+ seconds\b|\bdatabase system was (interrupted|shut down)\b|\bback-off restarting\b`)},
	{misconfigured, []string{"config", "setting", "option", "flag", "x509", "certificate", "authentication", "denied", "no space", "too many open"},
		regexp.MustCompile(`(?i)\b(invalid|bad|missing|unknown) (configuration|config|setting|option|flag)\b|\bx509: |\bcertificate has expired\b|\bauthentication failed\b|\bpermission denied\b|\baccess denied\b|\bno space left on device\b|\btoo many open files\b`)},
}

func signsOf(text string) (s signs) {
	small := strings.ToLower(text)
	for _, w := range words {
		if slices.ContainsFunc(w.hints, func(h string) bool { return strings.Contains(small, h) }) && w.pattern.MatchString(text) {
			s |= w.sign
		}
	}
	return s
}

// bearing is what lines say for a cause, and what they say against it. Against
// counts only what is new: what a program has always written explains no alert.
// A cause that is not here leaves nothing in a log that could tell.
var bearing = map[incident.Cause]struct{ supports, contradicts signs }{
	incident.MemOOM:        {supports: outOfMemory},
	incident.MemReclaim:    {supports: outOfMemory},
	incident.DBLockWait:    {supports: lockWait},
	incident.LockUser:      {supports: lockWait},
	incident.NetRetransmit: {supports: timedOut | connectionLost, contradicts: refused | crashed | restarted | misconfigured},
	incident.NetPeerSlow:   {supports: timedOut | connectionLost, contradicts: refused | crashed | restarted | misconfigured},
	incident.DiskLatency:   {supports: slowDisk},
	incident.JVMGCPause:    {supports: longPause},
	incident.CPUThrottled:  {contradicts: crashed | restarted},
	incident.CPUSaturated:  {contradicts: crashed | restarted},
	incident.CPUBusy:       {contradicts: crashed | restarted | longPause},
}

// stance is what lines say of the root cause.
func stance(s signs, isNew bool, root incident.Cause) incident.Stance {
	switch b := bearing[root]; {
	case s&b.supports != 0:
		return incident.Supports
	case s&b.contradicts != 0 && isNew:
		return incident.Contradicts
	}
	return ""
}
