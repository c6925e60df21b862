package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/kmend/kmend/internal/app"
	"github.com/kmend/kmend/internal/build"
)

// serveCmd is `kmend serve`.
type serveCmd struct {
	Config    string `short:"c" type:"path" env:"KMEND_CONFIG" placeholder:"FILE" help:"kmend.yaml; without it: standalone on 127.0.0.1:9790, changing nothing."`
	DataDir   string `env:"KMEND_DATA_DIR" placeholder:"DIR" help:"Directory of the database, in place of the configuration's dataDir."`
	LogLevel  string `default:"info" enum:"debug,info,warn,error" env:"KMEND_LOG_LEVEL" help:"debug, info, warn or error (${default})."`
	LogFormat string `default:"text" enum:"text,json" env:"KMEND_LOG_FORMAT" help:"text or json (${default})."`
}

// Run serves until ctx ends.
func (c *serveCmd) Run(ctx context.Context, out *output) error {
	config, err := c.config()
	if err != nil {
		return fmt.Errorf("reading the configuration:\n%w", err)
	}
	if os.Getenv("GOGC") == "" {
		// Most of the heap of a large cluster is the view of it, which lasts.
		debug.SetGCPercent(50)
	}
	server, err := app.New(ctx, config, app.Options{Version: build.Of(version).Version, Logger: c.logger(out.Stderr)})
	if err != nil {
		return fmt.Errorf("starting: %w", err)
	}
	return server.Run(ctx)
}

func (c *serveCmd) config() (config app.Config, err error) {
	config, err = configuration(c.Config)
	if err == nil && c.DataDir != "" {
		config.DataDir, err = filepath.Abs(c.DataDir)
	}
	return config, err
}

// configuration reads kmend.yaml; without a path it is the default.
func configuration(path string) (app.Config, error) {
	if path == "" {
		return app.Default(os.Environ()...)
	}
	return app.Load(path, os.Environ()...)
}

func (c *serveCmd) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.LogLevel)) // one of the four that kong lets through
	o := &slog.HandlerOptions{Level: level}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
