package main

import "context"

// serveCmd is `kmend serve`.
type serveCmd struct {
	Config string `short:"c" type:"path" env:"KMEND_CONFIG" help:"The configuration file."`
}

// Run serves until ctx ends.
func (c *serveCmd) Run(ctx context.Context, out *output) error { return nil }
