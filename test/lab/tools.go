package main

import (
	"fmt"
	"hash/fnv"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// tools finds the programs that the cases use: the victims that were built, and
// the real programs, which come from the machine or from the victims' folder.
type tools struct {
	victims string // folder of prepare
	kmend   string
	socket  string // of the agent that kmend asks; empty: it measures itself
}

// missing is a program that this machine lacks; the case is skipped and says so.
type missing struct{ what, get string }

func (m missing) Error() string { return fmt.Sprintf("%s is not on this machine: %s", m.what, m.get) }

// folder of a victim. What is in it is called app or Main, whatever it does, and
// the folder's name says as little: kmend reads the names of programs.
func (t tools) folder(language, name string) string {
	h := fnv.New32a()
	_, _ = h.Write([]byte(language + "/" + name))
	return filepath.Join(t.victims, fmt.Sprintf("%08x", h.Sum32()))
}

// c and golang are compiled victims, python and java scripts and classes. The
// result is the beginning of a command line.
func (b *bed) c(name string, args ...string) []string {
	return append([]string{b.there(filepath.Join(b.tools.folder("c", name), "app"))}, args...)
}

func (b *bed) golang(name string, args ...string) []string {
	return append([]string{b.there(filepath.Join(b.tools.folder("go", name), "app"))}, args...)
}

func (b *bed) python(name string, args ...string) []string {
	script := b.there(filepath.Join(b.tools.folder("python", name), "main.py"))
	return append([]string{b.program("/usr/bin/python3", "apt-get install python3"), script}, args...)
}

// java options come first, then the victim's arguments.
func (b *bed) java(options []string, name string, args ...string) []string {
	class := filepath.Dir(b.there(filepath.Join(b.tools.folder("java", name), "Main.class")))
	line := append([]string{b.program("java", "apt-get install openjdk-17-jre-headless")}, options...)
	return append(append(line, "-cp", class, "Main"), args...)
}

func (b *bed) there(path string) string {
	_, err := os.Stat(path)
	if err != nil {
		b.check(missing{path, "run lab -prepare"})
	}
	return path
}

// program finds one on the machine, and symbolic links are followed, as
// alternatives are.
func (b *bed) program(name, get string) string {
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		b.check(missing{name, get})
	}
	return path
}

// packaged finds a program on the machine or in the folder where prepare put
// Debian's package; env is what it needs to find its libraries there.
func (b *bed) packaged(pkg, name string) (path string, env []string) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	root := filepath.Join(b.tools.victims, "debs", pkg)
	path = filepath.Join(root, "usr/bin", name)
	if _, err := os.Stat(path); err != nil {
		b.check(missing{name, "run lab -prepare, or apt-get install " + pkg})
	}
	libs, _ := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu"))
	return path, []string{"LD_LIBRARY_PATH=" + strings.Join(libs, ":")}
}

// postgresBin is the folder of PostgreSQL's programs, the newest there is.
func (b *bed) postgresBin() string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) == 0 {
		found, _ = filepath.Glob(filepath.Join(b.tools.victims, "debs/postgresql-*/usr/lib/postgresql/*/bin/postgres"))
	}
	if len(found) == 0 {
		b.check(missing{"postgres", "apt-get install postgresql-15"})
	}
	return filepath.Dir(found[len(found)-1])
}

// nobody is a user who is not root: PostgreSQL refuses to run as root.
func (b *bed) nobody() (uid, gid int) {
	u, err := user.Lookup("postgres")
	if err != nil {
		u, err = user.Lookup("nobody")
	}
	b.check(err)
	uid, err = strconv.Atoi(u.Uid)
	b.check(err)
	gid, err = strconv.Atoi(u.Gid)
	b.check(err)
	return uid, gid
}
