package diagnose

import (
	"path"
	"regexp"
	"strconv"
	"strings"
)

// What names can be. Each func returns what is wrong, "" for nothing.

const (
	maxPID  = 4 << 20 // PID_MAX_LIMIT of a 64-bit kernel
	maxPath = 4095    // PATH_MAX without its NUL
	maxUnit = 255     // UNIT_NAME_MAX without its NUL
)

var (
	labelForm     = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	subdomainForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)
	unitForm      = regexp.MustCompile(`^[a-zA-Z0-9:_.\\@-]+\.(service|scope|slice)$`)
	portForm      = regexp.MustCompile(`:[0-9]{1,5}$`)
)

// dnsLabel checks the name of a namespace or of a container (RFC 1123 label).
func dnsLabel(s string) string {
	if len(s) > 63 || !labelForm.MatchString(s) {
		return "not a name in Kubernetes: want at most 63 of a-z, 0-9 and -, with a letter or digit at both ends"
	}
	return ""
}

// dnsSubdomain checks the name of a pod or of a node (RFC 1123 subdomain).
func dnsSubdomain(s string) string {
	if len(s) > 253 || !subdomainForm.MatchString(s) {
		return "not a name in Kubernetes: want at most 253 of a-z, 0-9, - and ., with a letter or digit at both ends"
	}
	return ""
}

// nodeName is the node that a label value names: in small letters and without a
// port, for those who map `instance`.
func nodeName(s string) (name, problem string) {
	name = strings.ToLower(portForm.ReplaceAllString(s, ""))
	return name, dnsSubdomain(name)
}

func cgroupPath(s string) string {
	switch {
	case len(s) > maxPath:
		return "longer than " + strconv.Itoa(maxPath) + " bytes"
	case !path.IsAbs(s):
		return "not an absolute path; want the whole path of a cgroup directory, such as /sys/fs/cgroup/system.slice/nginx.service"
	case s == "/" || path.Clean(s) != s:
		return "not the shortest form of a cgroup directory's path: no //, /./, /../ and no / at the end"
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' }):
		return "holds control characters"
	}
	return ""
}

func hasUnitSuffix(s string) bool {
	return strings.HasSuffix(s, ".service") || strings.HasSuffix(s, ".scope") || strings.HasSuffix(s, ".slice")
}

func unitName(s string) string {
	if len(s) > maxUnit || !unitForm.MatchString(s) || strings.HasPrefix(s, ".") {
		return "not a systemd unit that has processes; want NAME.service, NAME.scope or NAME.slice"
	}
	return ""
}

// quote shows an untrusted value in a sentence, shortened.
func quote(s string) string {
	if r := []rune(s); len(r) > 80 {
		s = string(r[:80]) + "…"
	}
	return strconv.Quote(s)
}
