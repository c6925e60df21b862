package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kmend/kmend/internal/certificates"
)

// certsCmd is `kmend certificates`: a Job of the chart runs it at the
// installation, and a CronJob every day.
type certsCmd struct {
	Namespace  string `default:"kmend" help:"Of the Secret."`
	Secret     string `default:"kmend-agent-tls" help:"The Secret's name."`
	DNSName    string `name:"dns-name" default:"kmend-agent" help:"In the agents' certificate: what agents.serverName says."`
	Valid      days   `default:"30d" help:"How long a certificate is good; it is replaced in the last third."`
	Adopt      bool   `help:"Take over a Secret that something else made."`
	Kubeconfig string `type:"path" placeholder:"FILE" help:"How to reach the cluster; without it KUBECONFIG, ~/.kube/config or the pod's service account."`
	Output     string `short:"o" enum:"text,json" default:"text" help:"text or json."`
}

// days is a duration that may be written in days: 30d.
type days time.Duration

// UnmarshalText reads "30d" and what time.ParseDuration reads.
func (d *days) UnmarshalText(b []byte) error {
	if n, ok := strings.CutSuffix(string(b), "d"); ok {
		if n, err := strconv.ParseUint(n, 10, 16); err == nil {
			*d = days(time.Duration(n) * 24 * time.Hour)
			return nil
		}
	}
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%q is not a duration; write for example 30d or 720h", b)
	}
	*d = days(v)
	return nil
}

func (c *certsCmd) options() certificates.Options {
	o := certificates.DefaultOptions()
	o.DNSName, o.Valid = c.DNSName, time.Duration(c.Valid)
	return o
}

// Validate is bad usage.
func (c *certsCmd) Validate() error { return c.options().Validate() }

// Run makes or renews the Secret, and says what it did. It prints no key.
func (c *certsCmd) Run(ctx context.Context, out *output) error {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = c.Kubeconfig
	conf, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return fmt.Errorf("finding the cluster: %w; give --kubeconfig, or run it in a pod with a service account", err)
	}
	conf.Timeout, conf.UserAgent = 10*time.Second, "kmend-certificates"
	client, err := kubernetes.NewForConfig(conf)
	if err != nil {
		return fmt.Errorf("making the client of the Kubernetes API: %w", err)
	}
	k := certificates.Keeper{Client: client, Namespace: c.Namespace, Secret: c.Secret, Adopt: c.Adopt, Options: c.options()}
	r, err := k.Keep(ctx, time.Now())
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return json.NewEncoder(out.Stdout).Encode(r)
	}
	_, err = fmt.Fprintf(out.Stdout, "secret %s/%s %s: certificate for %s until %s, trusted CAs: %d\n",
		r.Namespace, r.Secret, r.Did, r.DNSName, r.Expires.UTC().Format(time.RFC3339), r.CAs)
	return err
}
