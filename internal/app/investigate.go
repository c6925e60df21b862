package app

import (
	"github.com/kmend/kmend/diagnose/investigate"
)

// investigator joins the sources beside the kernel that are configured.
func (a *App) investigator() (*investigate.Investigator, error) {
	o := investigate.DefaultOptions()
	o.Logger = a.log
	return investigate.New(o)
}
