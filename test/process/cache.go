package process

import (
	"fmt"
	"os"
	"path/filepath"
)

// Cache is the folder of what test/setup fetches and test/cluster builds: that of
// KMEND_CACHE, else kmend in XDG_CACHE_HOME or ~/.cache.
func Cache() (string, error) {
	if dir := os.Getenv("KMEND_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("looking for the cache: %w; set KMEND_CACHE to a folder", err)
	}
	return filepath.Join(base, "kmend"), nil
}

// Unpacked is the folder of a Debian package as `test/setup/debs` unpacks it. The
// error says how to fetch it where program, a path in the package, is not there.
func Unpacked(pkg, program string) (dir string, err error) {
	cache, err := Cache()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(cache, "debs", pkg)
	if _, err := os.Stat(filepath.Join(dir, program)); err != nil {
		return "", fmt.Errorf("looking for %s: %w; fetch it with: test/setup/debs %s", filepath.Base(program), err, pkg)
	}
	return dir, nil
}
