package alertmanager

import (
	"fmt"
	"os"
	"path/filepath"
)

// unpacked is the folder of Debian's prometheus-alertmanager in the cache that
// test/setup/debs fills.
func unpacked() (string, error) {
	cache := os.Getenv("KMEND_CACHE")
	if cache == "" {
		base, err := os.UserCacheDir() // XDG_CACHE_HOME, else ~/.cache
		if err != nil {
			return "", fmt.Errorf("looking for the cache: %w; set KMEND_CACHE", err)
		}
		cache = filepath.Join(base, "kmend")
	}
	dir := filepath.Join(cache, "debs", "prometheus-alertmanager")
	if _, err := os.Stat(program(dir)); err != nil {
		return "", fmt.Errorf("looking for Alertmanager: %w; fetch it with: test/setup/debs prometheus-alertmanager", err)
	}
	return dir, nil
}

func program(dir string) string { return filepath.Join(dir, "usr/bin/prometheus-alertmanager") }

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
	argv = append(argv, "/bin/sh", "-c", over, "alertmanager", dir, program(dir))
	return "unshare", append(argv, args...)
}
