package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockFile takes an exclusive lock that the kernel releases when the process
// ends. With wait it blocks until the lock is free, else it answers unix.EWOULDBLOCK.
func lockFile(path string, wait bool) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("locking %s: %w", path, err)
		}
	}
}

// digest is a hash of the files' contents and of the words, for knowing whether
// what was built from them is still current.
func digest(files []string, words ...string) (string, error) {
	h := sha256.New()
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return "", fmt.Errorf("hashing build inputs: %w", err)
		}
		fmt.Fprintf(h, "%s %d\n", filepath.Base(f), len(b))
		h.Write(b)
	}
	for _, w := range words {
		fmt.Fprintf(h, "%q\n", w)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// upToDate reports whether path was made from inputs with this digest.
func upToDate(path, digest string) bool {
	key, err := os.ReadFile(path + ".key")
	if err != nil || string(key) != digest {
		return false
	}
	_, err = os.Stat(path)
	return err == nil
}

func markUpToDate(path, digest string) error {
	return os.WriteFile(path+".key", []byte(digest), 0o644)
}
