package alertmanager

import (
	"os"
	"path/filepath"

	"github.com/kmend/kmend/test/process"
)

// alertmanager is the program in Debian's package.
const alertmanager = "usr/bin/prometheus-alertmanager"

// unpacked is the folder of the package.
func unpacked() (string, error) { return process.Unpacked("prometheus-alertmanager", alertmanager) }

// command is what runs the unpacked Alertmanager. Debian's build reads its
// default template from /usr/share, where an unpacked package has put nothing:
// it gets a mount namespace of its own, in which the package's usr/share lies
// over the machine's. Each program of the chain replaces the one before, so the
// pid stays the same.
func command(dir string, args []string) (path string, argv []string) {
	argv = []string{"--mount", "--propagation", "private"}
	if os.Geteuid() != 0 {
		argv = append(argv, "--map-root-user")
	}
	const over = `mount --bind "$1/usr/share" /usr/share && shift && exec "$@"`
	argv = append(argv, "/bin/sh", "-c", over, "alertmanager", dir, filepath.Join(dir, alertmanager))
	return "unshare", append(argv, args...)
}
