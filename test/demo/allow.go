package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/kmend/kmend/test/server"
)

// policy lets kmend act, on this demo's workload and on nothing else. It is what
// an operator writes to allow a remediation.
const policy = `apiVersion: kmend.dev/v1
kind: Policy
metadata:
  name: demo
  description: Lets kmend raise the CPU quota of the demo's own workload.
dryRun: false
rules:
  - name: the demo's cgroup
    when: target.cgroup == %q
    decide: allow
    reason: it is the demo's own workload
`

// allow ends the alert, so that it can fire anew, and starts kmend again with
// dry run switched off and a policy that allows the action.
func (d *demo) allow(ctx context.Context) error {
	before, err := d.am.Counts(ctx)
	if err != nil {
		return err
	}
	if err := d.am.Resolve(ctx, d.alert()); err != nil {
		return err
	}
	if err := d.notified(ctx, before.Sent); err != nil {
		return err
	}
	d.say("the alert is resolved by hand, so that it can fire again; kmend was told")
	file := filepath.Join(d.tmp, "policy.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, policy, d.workload.Path), 0o600); err != nil {
		return fmt.Errorf("writing the policy: %w", err)
	}
	if err := d.kmend.Stop(); err != nil {
		return err
	}
	next, err := d.kmend.Again(ctx, func(o *server.Options) {
		o.DryRun, o.Policies = false, []string{file}
	})
	if err != nil {
		return err
	}
	d.kmend = next
	d.say("kmend serve again, on the same data: dryRun: false, and a policy that allows the action on this cgroup only")
	return nil
}

// notified waits until Alertmanager has sent more than n notifications.
func (d *demo) notified(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 15*time.Second, errors.New("Alertmanager did not notify within 15 s"))
	defer cancel()
	return d.am.WaitFor(ctx, func(ctx context.Context) error {
		c, err := d.am.Counts(ctx)
		if err == nil && c.Sent <= n {
			err = fmt.Errorf("%d notifications sent", c.Sent)
		}
		return err
	})
}
