package app

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/document"
	"github.com/kmend/kmend/internal/secret"
)

// problem is what is wrong with one field, beyond what its type says.
type problem struct {
	path    []string
	message string
}

// checker collects problems.
type checker []problem

// at notes a problem; path is the field's with dots.
func (c *checker) at(path, format string, args ...any) {
	*c = append(*c, problem{strings.Split(path, "."), fmt.Sprintf(format, args...)})
}

func (c *checker) duration(path string, d incident.Duration, low, high time.Duration) {
	if d.D() < low || d.D() > high {
		c.at(path, "%s is %s; want %s to %s", path, d, low, high)
	}
}

var index = regexp.MustCompile(`\.([0-9]+)`)

// shown is a path as messages write it: approvers[1].tokenFile.
func shown(path string) string { return index.ReplaceAllString(path, "[$1]") }

// secret checks the file of a secret, and returns what it holds.
func (c *checker) secret(path, file string) string {
	f, err := secret.Open(file)
	if err != nil {
		c.at(path, "%s: %v", shown(path), err)
		return ""
	}
	v, err := f.Value()
	if err != nil {
		c.at(path, "%s: %v", shown(path), err)
	}
	return v
}

func (c *checker) exists(path, file string) {
	if _, err := os.Stat(file); err != nil {
		c.at(path, "%s: %v", shown(path), err)
	}
}

// documents checks that there is a YAML file, or a directory of them.
func (c *checker) documents(path, file string) {
	if _, err := document.Files([]string{file}); err != nil {
		c.at(path, "%s: %v", shown(path), err)
	}
}

// problems checks every field that its type does not check.
func (c Config) problems() []problem {
	var k checker
	c.checkDatabase(&k)
	c.checkDoors(&k)
	c.checkApprovers(&k)
	c.checkSlack(&k)
	c.checkPagerDuty(&k)
	c.checkRoutes(&k)
	if _, err := c.keeps(); err != nil {
		k.at("retention", "%v", err)
	}
	c.checkLogs(&k)
	c.checkLLM(&k)
	c.checkTracing(&k)
	c.checkLabels(&k)
	c.checkAgents(&k)
	c.Traces.check(&k)
	k.duration("approvalExpiry", c.ApprovalExpiry, time.Second, 24*time.Hour)
	k.duration("extendWithin", c.ExtendWithin, 0, 24*time.Hour)
	k.duration("correlateWithin", c.CorrelateWithin, 0, time.Hour)
	k.duration("diagnose.window", c.Diagnose.Window, 500*time.Millisecond, maxWindow)
	k.duration("agents.timeout", c.Agents.Timeout, time.Second, 5*time.Minute)
	for i, p := range c.Runbooks {
		k.documents(fmt.Sprintf("runbooks.%d", i), p)
	}
	for i, p := range c.Policies {
		k.documents(fmt.Sprintf("policies.%d", i), p)
	}
	if !c.Kubernetes.Enabled && c.Kubernetes.Kubeconfig != "" {
		k.at("kubernetes.kubeconfig", "kubernetes.kubeconfig is set and kubernetes.enabled is not; set enabled: true, or remove it")
	}
	c.checkGuard(&k)
	c.checkSuspects(&k)
	c.checkSLOs(&k)
	if c.Kubernetes.Kubeconfig != "" {
		k.exists("kubernetes.kubeconfig", c.Kubernetes.Kubeconfig)
	}
	for i, n := range c.Kubernetes.Namespaces {
		if problem := namespaceName(n); problem != "" {
			k.at(fmt.Sprintf("kubernetes.namespaces.%d", i), "kubernetes.namespaces[%d] is %q: %s", i, n, problem)
		}
	}
	return k
}

// checkDoors checks the address and who may come in by it. What others can reach
// must ask for credentials.
func (c Config) checkDoors(k *checker) {
	local, err := loopback(c.Listen)
	if err != nil {
		k.at("listen", "listen is %q: %v; want HOST:PORT, for example 127.0.0.1:9790", c.Listen, err)
		return
	}
	w := c.Webhook
	if w.BearerTokenFile != "" {
		k.secret("webhook.bearerTokenFile", w.BearerTokenFile)
	}
	if w.BasicAuth != nil {
		k.secret("webhook.basicAuth.passwordFile", w.BasicAuth.PasswordFile)
	}
	if w.Grafana != nil {
		k.secret("webhook.grafana.hmacSecretFile", w.Grafana.HMACSecretFile)
	}
	if c.API.TokenFile != "" {
		k.secret("api.tokenFile", c.API.TokenFile)
	}
	if local {
		return
	}
	if w.BearerTokenFile == "" && w.BasicAuth == nil {
		k.at("listen", "listen is %q, which other machines can reach, and the webhook takes alerts from anybody; set webhook.bearerTokenFile or webhook.basicAuth, or listen on 127.0.0.1", c.Listen)
	}
	if c.API.TokenFile == "" {
		k.at("listen", "listen is %q, which other machines can reach, and anybody may read the incidents; set api.tokenFile, or listen on 127.0.0.1", c.Listen)
	}
}

// checkApprovers: each has a name and a token of its own, for who approved is
// known by the token alone.
func (c Config) checkApprovers(k *checker) {
	names, tokens := map[string]bool{}, map[string]string{}
	if c.API.TokenFile != "" {
		if f, err := secret.Open(c.API.TokenFile); err == nil {
			v, _ := f.Value() // its error is noted above
			tokens[v] = "api.tokenFile"
		}
	}
	for i, a := range c.Approvers {
		field := fmt.Sprintf("approvers.%d", i)
		if strings.ContainsFunc(a.Name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			k.at(field+".name", "approvers[%d].name holds control characters", i)
		}
		if names[a.Name] {
			k.at(field+".name", "approvers[%d].name %q is there twice; each approver has a name of its own", i, a.Name)
		}
		names[a.Name] = true
		token := k.secret(field+".tokenFile", a.TokenFile)
		if other, taken := tokens[token]; taken && token != "" {
			k.at(field+".tokenFile", "approvers[%d].tokenFile holds the same token as %s; who approves is known by the token, so each has its own", i, other)
		}
		tokens[token] = fmt.Sprintf("approvers[%d].tokenFile", i)
	}
}

func (c Config) checkAgents(k *checker) {
	a := c.Agents
	if a.CAFile != "" {
		k.exists("agents.caFile", a.CAFile)
	}
	if a.TokenFile != "" {
		k.secret("agents.tokenFile", a.TokenFile)
	}
	seen := map[string]bool{}
	for i, s := range a.Static {
		field := fmt.Sprintf("agents.static.%d", i)
		node := strings.ToLower(s.Node)
		if errs := validation.IsDNS1123Subdomain(node); len(errs) > 0 {
			k.at(field+".node", "agents.static[%d].node is %q; want the name of a node: letters, digits, - and ., with a letter or digit at both ends", i, s.Node)
		}
		if seen[node] {
			k.at(field+".node", "agents.static[%d].node %q is there twice", i, s.Node)
		}
		seen[node] = true
		u, err := url.Parse(s.URL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" {
			k.at(field+".url", "agents.static[%d].url is %q; want http://HOST:PORT or https://HOST:PORT", i, s.URL)
			continue
		}
		if local, err := loopback(u.Host); u.Scheme == "http" && (err != nil || !local) {
			k.at(field+".url", "agents.static[%d].url is %q: the token would cross the network unencrypted; use https, http is for 127.0.0.1:PORT only", i, s.URL)
		}
	}
	if p := a.Kubernetes; p != nil {
		if !c.Kubernetes.Enabled {
			k.at("agents.kubernetes", "agents.kubernetes needs the Kubernetes API; set kubernetes.enabled: true")
		}
		if _, err := labels.Parse(p.Selector); err != nil {
			k.at("agents.kubernetes.selector", "agents.kubernetes.selector is %q: %v", p.Selector, err)
		}
		if problem := namespaceName(p.Namespace); problem != "" {
			k.at("agents.kubernetes.namespace", "agents.kubernetes.namespace is %q: %s", p.Namespace, problem)
		}
	}
	if !a.Local && len(a.Static) == 0 && a.Kubernetes == nil {
		k.at("agents.local", "agents.local is false and no other agents are configured: nothing could be measured; set agents.static or agents.kubernetes, or local: true")
	}
}

// checkGuard checks where the guards ask.
func (c Config) checkGuard(k *checker) {
	if p := c.Kubernetes.Pause; p != nil {
		if !c.Kubernetes.Enabled {
			k.at("kubernetes.pause", "kubernetes.pause needs the Kubernetes API; set kubernetes.enabled: true")
		}
		if problem := namespaceName(p.Namespace); problem != "" {
			k.at("kubernetes.pause.namespace", "kubernetes.pause.namespace is %q: %s", p.Namespace, problem)
		}
		if errs := validation.IsDNS1123Subdomain(p.ConfigMap); len(errs) > 0 {
			k.at("kubernetes.pause.configMap", "kubernetes.pause.configMap is %q: %s", p.ConfigMap, strings.Join(errs, "; "))
		}
		if errs := validation.IsConfigMapKey(p.Key); len(errs) > 0 {
			k.at("kubernetes.pause.key", "kubernetes.pause.key is %q: %s", p.Key, strings.Join(errs, "; "))
		}
	}
	if c.Prometheus.TokenFile != "" {
		k.secret("prometheus.tokenFile", c.Prometheus.TokenFile)
	}
	if c.Prometheus.URL == "" {
		if c.Prometheus.TokenFile != "" {
			k.at("prometheus.tokenFile", "prometheus.tokenFile is set and prometheus.url is not")
		}
		return
	}
	u, err := url.Parse(c.Prometheus.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		k.at("prometheus.url", "prometheus.url is %q; want http://HOST:PORT or https://HOST:PORT, with the path prefix if there is one", c.Prometheus.URL)
		return
	}
	if local, err := loopback(u.Host); c.Prometheus.TokenFile != "" && u.Scheme == "http" && (err != nil || !local) {
		k.at("prometheus.url", "prometheus.url is %q: the token would cross the network unencrypted; use https", c.Prometheus.URL)
	}
}

func namespaceName(s string) string {
	return strings.Join(validation.IsDNS1123Label(s), "; ")
}

// loopback reports whether only this machine can reach an address.
func loopback(address string) (bool, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return false, err
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return false, fmt.Errorf("port %q is not a number from 0 to 65535", port)
	}
	if strings.EqualFold(host, "localhost") {
		return true, nil
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback(), nil
}

// exposed are the secret files that every user of the machine may read.
func (c Config) exposed() []string {
	return slices.DeleteFunc(c.secretFiles(), func(path string) bool {
		f, err := secret.Open(path)
		return err != nil || !f.Exposed()
	})
}

// secretFiles are the files of secrets that the configuration names.
func (c Config) secretFiles() []string {
	files := []string{c.Traces.Jaeger.TokenFile, c.Traces.Tempo.TokenFile, c.DatabaseFile, c.Webhook.BearerTokenFile, c.API.TokenFile, c.Agents.TokenFile, c.Prometheus.TokenFile}
	if b := c.Webhook.BasicAuth; b != nil {
		files = append(files, b.PasswordFile)
	}
	for _, a := range c.Approvers {
		files = append(files, a.TokenFile)
	}
	if s := c.Slack; s != nil {
		files = append(files, s.BotTokenFile, s.SigningSecretFile, s.AppTokenFile)
	}
	if p := c.PagerDuty; p != nil {
		files = append(files, p.TokenFile, p.RoutingKeyFile)
	}
	for _, r := range c.Routes {
		if r.PagerDuty != nil {
			files = append(files, r.PagerDuty.RoutingKeyFile)
		}
	}
	if t := c.Tracing; t != nil {
		files = append(files, t.HeadersFile)
	}
	if l := c.LLM; l != nil {
		files = append(files, l.APIKeyFile)
	}
	if g := c.Webhook.Grafana; g != nil {
		files = append(files, g.HMACSecretFile)
	}
	for _, file := range c.Logs.files() {
		files = append(files, *file)
	}
	return slices.DeleteFunc(files, func(path string) bool { return path == "" })
}
