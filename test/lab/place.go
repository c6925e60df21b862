package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// placeEnv makes this program a launcher: it puts itself where the place says
// and then becomes the program in its arguments. So a victim's first
// instruction is already in its cgroups and its network namespace.
const placeEnv = "LAB_PLACE"

// place is where a process runs.
type place struct {
	Cgroups []string `json:"cgroups,omitempty"` // folders
	Netns   string   `json:"netns,omitempty"`   // name, as in ip netns
	UID     int      `json:"uid,omitempty"`     // 0: stay root
	GID     int      `json:"gid,omitempty"`
	CPUs    []int    `json:"cpus,omitempty"` // empty: all
}

// enter never returns but with an error.
func enter(spec string, argv []string) error {
	runtime.LockOSThread()
	var p place
	if err := json.Unmarshal([]byte(spec), &p); err != nil {
		return fmt.Errorf("reading %s: %w", placeEnv, err)
	}
	for _, dir := range p.Cgroups {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
			return fmt.Errorf("moving into a cgroup: %w", err)
		}
	}
	if p.Netns != "" {
		f, err := os.Open("/run/netns/" + p.Netns)
		if err != nil {
			return fmt.Errorf("opening the network namespace: %w", err)
		}
		if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering the network namespace %s: %w", p.Netns, err)
		}
		f.Close()
	}
	if len(p.CPUs) > 0 {
		var set unix.CPUSet
		for _, c := range p.CPUs {
			set.Set(c)
		}
		if err := unix.SchedSetaffinity(0, &set); err != nil { // of this thread, which is the one that stays
			return fmt.Errorf("pinning to CPUs %v: %w", p.CPUs, err)
		}
	}
	if p.UID != 0 {
		if err := unix.Setgroups(nil); err != nil {
			return fmt.Errorf("leaving groups: %w", err)
		}
		if err := unix.Setresgid(p.GID, p.GID, p.GID); err != nil {
			return fmt.Errorf("becoming group %d: %w", p.GID, err)
		}
		if err := unix.Setresuid(p.UID, p.UID, p.UID); err != nil {
			return fmt.Errorf("becoming user %d: %w", p.UID, err)
		}
		// The change of user took it away.
		if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
			return fmt.Errorf("asking for a signal at the parent's end: %w", err)
		}
	}
	if err := os.Unsetenv(placeEnv); err != nil {
		return err
	}
	if err := unix.Exec(argv[0], argv, os.Environ()); err != nil {
		return fmt.Errorf("running %s: %w", argv[0], err)
	}
	return nil
}
