package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/kmend/kmend/internal/app"
)

// place is where the record is, for the commands that need no server.
type place struct {
	Config  string `short:"c" type:"path" env:"KMEND_CONFIG" placeholder:"FILE" help:"kmend.yaml, which says where the record is; without it the defaults."`
	DataDir string `env:"KMEND_DATA_DIR" placeholder:"DIR" help:"Directory of the database, in place of the configuration's dataDir."`
}

func (p place) config() (app.Config, error) {
	c := serveCmd{Config: p.Config, DataDir: p.DataDir}
	config, err := c.config()
	if err != nil {
		return config, fmt.Errorf("reading the configuration:\n%w", err)
	}
	return config, nil
}

// backupCmd is `kmend backup FILE`.
type backupCmd struct {
	place
	File string `arg:"" help:"Where the backup goes, a file that is not there yet; - for standard output."`
}

// Run writes the backup, while kmend serve runs or not.
func (c *backupCmd) Run(ctx context.Context, out *output) error {
	config, err := c.config()
	if err != nil {
		return err
	}
	if c.File != "-" {
		if err := config.Backup(ctx, c.File); err != nil {
			return err
		}
		fmt.Fprintf(out.Stdout, "the record is in %s\n", c.File)
		return nil
	}
	dir, err := os.MkdirTemp(config.DataDir, ".backup-")
	if err != nil {
		return fmt.Errorf("backing up: %w", err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "backup")
	if err := config.Backup(ctx, file); err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("backing up: %w", err)
	}
	defer f.Close()
	_, err = io.Copy(out.Stdout, f)
	return err
}

// restoreCmd is `kmend restore FILE`.
type restoreCmd struct {
	place
	File  string `arg:"" optional:"" help:"A backup of SQLite, - for standard input. With PostgreSQL none: its own tools have restored it."`
	Force bool   `help:"Where there is a record, move it aside."`
}

// Run restores. kmend serve must not run.
func (c *restoreCmd) Run(ctx context.Context, out *output) error {
	config, err := c.config()
	if err != nil {
		return err
	}
	if c.File == "" && !config.Shared() {
		return errors.New("which backup? Give the file that kmend backup wrote")
	}
	file := c.File
	if file == "-" {
		var done func()
		if file, done, err = incoming(config.DataDir, os.Stdin); err != nil {
			return err
		}
		defer done()
	}
	done, err := config.Restore(ctx, file, c.Force)
	if err != nil {
		return err
	}
	fmt.Fprintf(out.Stdout, "restored; %d open incidents are ended as interrupted, and kmend is paused: look at what was done since the backup, then run kmend resume\n", done.Interrupted)
	if done.Aside != "" {
		fmt.Fprintf(out.Stdout, "the record of before is in %s\n", done.Aside)
	}
	return nil
}

// incoming puts what comes in a file beside the record: a pod has no other disk.
func incoming(dir string, from io.Reader) (file string, done func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, fmt.Errorf("restoring: %w", err)
	}
	f, err := os.CreateTemp(dir, ".restore-")
	if err != nil {
		return "", nil, fmt.Errorf("restoring: %w", err)
	}
	done = func() { os.Remove(f.Name()) }
	_, err = io.Copy(f, from)
	if err = errors.Join(err, f.Close()); err != nil {
		done()
		return "", nil, fmt.Errorf("restoring: reading standard input: %w", err)
	}
	return f.Name(), done, nil
}
