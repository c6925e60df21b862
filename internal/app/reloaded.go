package app

import (
	"reflect"
	"strings"

	"k8s.io/client-go/kubernetes"

	"github.com/kmend/kmend/internal/guard"
	"github.com/kmend/kmend/remediate"
)

// loadRunbooks reads the runbooks into a.now.
func (a *App) loadRunbooks(specs []remediate.Spec) func() error {
	return func() error {
		set, err := a.planner(specs)
		if err == nil {
			a.now.runbooks.Store(set)
		}
		return err
	}
}

// loadPolicies reads the policies and puts the guard that asks them into a.now.
func (a *App) loadPolicies(history guard.History, switches []guard.Switch, cluster kubernetes.Interface) func() error {
	return func() error {
		set, err := a.policies()
		if err != nil {
			return err
		}
		var fresh *guard.Guard
		if old := a.now.guard.Load(); old != nil {
			o := old.Options
			o.Policies = set
			fresh, err = guard.New(o)
		} else {
			fresh, err = a.guard(set, history, switches, cluster)
		}
		if err != nil {
			return err
		}
		a.now.guard.Store(fresh)
		if asking := set.Asking(); len(asking) > 0 && len(a.config.Approvers) == 0 && (a.config.Slack == nil || !set.AskingInSlack()) {
			a.log.Warn("policies ask for approval and nobody may approve, so plans will expire; set approvers", "rules", asking)
		}
		return nil
	}
}

// loadRoutes puts the routes and templates of the configuration's file into a.now.
func (a *App) loadRoutes() error {
	c := a.config
	if c.file != "" && a.now.routing.Load() != nil { // the first time the file was just read
		fresh, err := Load(c.file, c.environ...)
		if err != nil {
			return err
		}
		if fields := a.config.differ(fresh); len(fields) > 0 {
			a.log.Warn("what changed in the configuration is heeded after a restart only", "fields", strings.Join(fields, ", "))
		}
		c.Routes, c.Templates = fresh.Routes, fresh.Templates
	}
	routing, err := c.Routing()
	if err != nil {
		return err
	}
	a.now.routing.Store(routing)
	a.templates = c.TemplateFiles()
	return nil
}

// routeFiles are what routes are made of.
func (a *App) routeFiles() []string {
	files := a.templates
	if a.config.file != "" {
		files = append([]string{a.config.file}, files...)
	}
	return files
}

// differ names the fields whose change needs a restart. The data directory may be
// another than the file's by a flag, so it is not among them.
func (c Config) differ(fresh Config) (fields []string) {
	was, is := reflect.ValueOf(c), reflect.ValueOf(fresh)
	for i := range was.NumField() {
		name, _, _ := strings.Cut(was.Type().Field(i).Tag.Get("json"), ",")
		switch name {
		case "", "routes", "templates", "dataDir":
			continue
		}
		if !reflect.DeepEqual(was.Field(i).Interface(), is.Field(i).Interface()) {
			fields = append(fields, name)
		}
	}
	return fields
}
