package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/app"
)

// routeCmd is `kmend route`.
type routeCmd struct {
	Test routeTestCmd `cmd:"" help:"Print which route of a configuration an alert takes."`
}

// routeTestCmd is `kmend route test`.
type routeTestCmd struct {
	Config string   `short:"c" type:"path" env:"KMEND_CONFIG" placeholder:"FILE" help:"kmend.yaml, whose routes are tried."`
	Labels []string `arg:"" optional:"" name:"label=value" help:"Labels of the alert, such as team=shop; namespace is the target's."`
}

// Validate is bad usage.
func (c *routeTestCmd) Validate() error {
	for _, l := range c.Labels {
		if name, _, ok := strings.Cut(l, "="); !ok || name == "" {
			return fmt.Errorf("%q is no label; want NAME=VALUE, such as team=shop", l)
		}
	}
	if c.Config == "" {
		return errors.New("which routes? Name the configuration with --config FILE or KMEND_CONFIG")
	}
	return nil
}

// Run prints where people hear of such an alert; nothing is sent.
func (c *routeTestCmd) Run(_ context.Context, out *output) error {
	routing, err := routingOf(c.Config)
	if err != nil {
		return err
	}
	labels := map[string]string{}
	for _, l := range c.Labels {
		name, value, _ := strings.Cut(l, "=")
		labels[name] = value
	}
	inc := incident.Incident{Alerts: []incident.Alert{{Labels: labels}}}
	_, err = fmt.Fprintln(out.Stdout, routing.Of(inc))
	return err
}

// routingOf reads the routes and templates of a configuration.
func routingOf(path string) (*app.Routing, error) {
	config, err := configuration(path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration:\n%w", err)
	}
	return config.Routing()
}
