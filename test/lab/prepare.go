package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// prepare builds the victims into dir, from the repository that it runs in.
func prepare(ctx context.Context, dir string, log io.Writer) error {
	source, err := filepath.Abs("test/lab/victims")
	if err != nil {
		return err
	}
	if _, err := os.Stat(source); err != nil {
		return fmt.Errorf("building the victims: run it in the top folder of the repository: %w", err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	t := tools{victims: dir}
	run := func(args ...string) error {
		out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("building the victims: %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
		}
		return nil
	}
	return errors.Join(
		each(source, "c/*.c", func(name, file string) error {
			dir := t.folder("c", name)
			return errors.Join(os.MkdirAll(dir, 0o755),
				run("gcc", "-O1", "-g", "-fno-omit-frame-pointer", "-pthread", "-o", filepath.Join(dir, "app"), file, "-Wl,--as-needed", "-lsqlite3"))
		}),
		each(source, "go/*", func(name, file string) error {
			return run("go", "build", "-buildvcs=false", "-o", filepath.Join(t.folder("go", name), "app"), file)
		}),
		each(source, "python/*.py", func(name, file string) error {
			dir := t.folder("python", name)
			return errors.Join(os.MkdirAll(dir, 0o755), copyFile(file, filepath.Join(dir, "main.py")),
				copyFile(filepath.Join(source, "python/app.py"), filepath.Join(dir, "app.py")))
		}),
		each(source, "java/*/Main.java", func(_, file string) error {
			name := filepath.Base(filepath.Dir(file))
			return run("javac", "-d", t.folder("java", name), filepath.Join(source, "java/App.java"), file)
		}),
		packages(ctx, dir, log),
	)
}

// packages puts Redis beside the victims, where the machine has none.
// PostgreSQL and Java are installed, or not there; a few hundred megabytes.
func packages(ctx context.Context, dir string, log io.Writer) error {
	if _, err := exec.LookPath("redis-server"); err == nil {
		return nil
	}
	cmd := exec.CommandContext(ctx, "test/setup/debs", "redis-tools")
	cmd.Stderr = log
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("fetching redis-tools: %w", err)
	}
	to := filepath.Join(dir, "debs", "redis-tools")
	if err := errors.Join(os.RemoveAll(to), os.MkdirAll(filepath.Dir(to), 0o755)); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, "cp", "-a", strings.TrimSpace(string(out)), to).CombinedOutput(); err != nil {
		return fmt.Errorf("copying redis-tools: %w: %s", err, out)
	}
	// As in Debian's redis-server, which holds this and a unit for init.
	return os.Symlink("redis-check-rdb", filepath.Join(to, "usr/bin/redis-server"))
}

func each(source, pattern string, f func(name, file string) error) error {
	files, err := filepath.Glob(filepath.Join(source, pattern))
	if err != nil {
		return err
	}
	var errs []error
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
		errs = append(errs, f(name, file))
	}
	return errors.Join(errs...)
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}
