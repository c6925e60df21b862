package app

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"

	"github.com/kmend/kmend/diagnose/investigate"
	"github.com/kmend/kmend/diagnose/logs"
	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/redact"
	"github.com/kmend/kmend/internal/secret"
)

// Logs says where the log lines of targets are.
type Logs struct {
	Before   incident.Duration `json:"before,omitempty" jsonschema_description:"How long before the measured window lines count as around it: 1s to 24h."`
	Baseline incident.Duration `json:"baseline,omitempty" jsonschema_description:"How long before that they are compared with: 1s to 24h."`
	Limit    int               `json:"limit,omitempty" jsonschema:"minimum=10,maximum=5000" jsonschema_description:"How many lines one query may give; there are at most four queries a store and diagnosis."`
	Redact   []string          `json:"redact,omitempty" jsonschema:"maxItems=100" jsonschema_description:"Regular expressions of what is not shown of a line, beside the usual forms of secrets and e-mail addresses."`

	Loki          *Loki          `json:"loki,omitempty"`
	Elasticsearch *Elasticsearch `json:"elasticsearch,omitempty"`
}

// LogAccess is how a store of logs is reached.
type LogAccess struct {
	URL          string `json:"url" jsonschema:"minLength=1" jsonschema_description:"http://HOST:PORT or https://HOST:PORT, with the path prefix if there is one."`
	Username     string `json:"username,omitempty" jsonschema:"maxLength=253"`
	PasswordFile string `json:"passwordFile,omitempty"`
}

// LogFields are the names that a store has for what tells a target.
type LogFields struct {
	Cluster   string `json:"cluster,omitempty"`
	Namespace string `json:"namespace,omitempty"`
	Pod       string `json:"pod,omitempty"`
	Container string `json:"container,omitempty"`
	Node      string `json:"node,omitempty"`
	Unit      string `json:"unit,omitempty"`
}

// Loki is a Grafana Loki.
type Loki struct {
	LogAccess `json:",inline"`
	TokenFile string            `json:"tokenFile,omitempty" jsonschema_description:"File of the bearer token that it asks for."`
	OrgID     string            `json:"orgID,omitempty" jsonschema:"maxLength=150,pattern=^[^\\r\\n]*$" jsonschema_description:"The tenant, which is sent as X-Scope-OrgID."`
	Labels    LogFields         `json:"labels,omitempty" jsonschema_description:"Names of labels where they are not those of promtail and Alloy; - for one that is not there."`
	Match     map[string]string `json:"match,omitempty" jsonschema_description:"Labels that every stream of this kmend's targets has."`
}

// Elasticsearch is an Elasticsearch or an OpenSearch.
type Elasticsearch struct {
	LogAccess    `json:",inline"`
	APIKeyFile   string            `json:"apiKeyFile,omitempty" jsonschema_description:"File of an API key in its encoded form."`
	Index        string            `json:"index,omitempty" jsonschema_description:"Indices, data streams or patterns of them, with commas between. Default filebeat-*,logs-*."`
	Fields       LogFields         `json:"fields,omitempty" jsonschema_description:"Names of fields where they are not those of the Elastic Common Schema; - for one that is not there."`
	TimeField    string            `json:"timeField,omitempty" jsonschema_description:"Default @timestamp."`
	MessageField string            `json:"messageField,omitempty" jsonschema_description:"Default message."`
	LevelField   string            `json:"levelField,omitempty" jsonschema_description:"Default log.level; - for none."`
	Match        map[string]string `json:"match,omitempty" jsonschema_description:"Fields that every document of this kmend's targets has, as keywords."`
}

// or are the names with defaults for those that are not set; "-" is none.
func (f LogFields) or(d logs.Fields) logs.Fields {
	return logs.Fields{Cluster: name(f.Cluster, d.Cluster), Namespace: name(f.Namespace, d.Namespace), Pod: name(f.Pod, d.Pod),
		Container: name(f.Container, d.Container), Node: name(f.Node, d.Node), Unit: name(f.Unit, d.Unit)}
}

func name(set, otherwise string) string {
	if set == "-" {
		return ""
	}
	return cmp.Or(set, otherwise)
}

// files are the secrets, by the path of their field.
func (l *Logs) files() map[string]*string {
	files := map[string]*string{}
	if x := l.Loki; x != nil {
		files["logs.loki.tokenFile"], files["logs.loki.passwordFile"] = &x.TokenFile, &x.PasswordFile
	}
	if x := l.Elasticsearch; x != nil {
		files["logs.elasticsearch.apiKeyFile"], files["logs.elasticsearch.passwordFile"] = &x.APIKeyFile, &x.PasswordFile
	}
	maps.DeleteFunc(files, func(_ string, f *string) bool { return *f == "" })
	return files
}

// checkLogs checks where logs are read.
func (c Config) checkLogs(k *checker) {
	k.duration("logs.before", c.Logs.Before, logs.MinAround, logs.MaxAround)
	k.duration("logs.baseline", c.Logs.Baseline, logs.MinAround, logs.MaxAround)
	if _, err := redact.New(c.Logs.Redact); err != nil {
		k.at("logs.redact", "logs.redact: %v", err)
	}
	files := c.Logs.files()
	for _, path := range slices.Sorted(maps.Keys(files)) {
		k.secret(path, *files[path])
	}
	if x := c.Logs.Loki; x != nil {
		k.logAccess("logs.loki", x.LogAccess, x.TokenFile)
		if _, err := logs.NewLoki(x.options()); err != nil {
			k.at("logs.loki", "logs.loki: %v", err)
		}
	}
	if x := c.Logs.Elasticsearch; x != nil {
		k.logAccess("logs.elasticsearch", x.LogAccess, x.APIKeyFile)
		if _, err := logs.NewElasticsearch(x.options()); err != nil {
			k.at("logs.elasticsearch", "logs.elasticsearch: %v", err)
		}
	}
}

// logAccess checks one store's; token is the file of its token or key.
func (c *checker) logAccess(path string, a LogAccess, token string) {
	if (a.Username == "") != (a.PasswordFile == "") {
		c.at(path, "%s has one of username and passwordFile; set both or neither", path)
	}
	if token != "" && a.PasswordFile != "" {
		c.at(path, "%s has a password and a token or key; set one of them", path)
	}
	u, err := url.Parse(a.URL)
	if err != nil || u.Scheme != "http" {
		return // what it must look like, its client says
	}
	if local, err := loopback(u.Host); token+a.PasswordFile != "" && (err != nil || !local) {
		c.at(path+".url", "%s.url is %q: the secret would cross the network unencrypted; use https", path, a.URL)
	}
}

func (x *Loki) options() logs.LokiOptions {
	return logs.LokiOptions{Access: logs.Access{URL: x.URL, Username: x.Username}, OrgID: x.OrgID, Labels: x.Labels.or(logs.DefaultLokiLabels()), Match: x.Match}
}

func (x *Elasticsearch) options() logs.ElasticsearchOptions {
	d := logs.DefaultElasticsearchOptions()
	return logs.ElasticsearchOptions{Access: logs.Access{URL: x.URL, Username: x.Username}, Index: cmp.Or(x.Index, d.Index), Fields: x.Fields.or(d.Fields),
		Time: cmp.Or(x.TimeField, d.Time), Message: cmp.Or(x.MessageField, d.Message), Level: name(x.LevelField, d.Level), Match: x.Match}
}

// logs are the stores that are configured, as observers, or what to say of their absence.
func (a *App) logs() (observers []investigate.Observer, absent []incident.Source, err error) {
	c := a.config.Logs
	if c.Loki == nil {
		absent = append(absent, absentSource("loki", "logs.loki is not set"))
	}
	if c.Elasticsearch == nil {
		absent = append(absent, absentSource("elasticsearch", "logs.elasticsearch is not set"))
	}
	r, err := redact.New(c.Redact)
	if err != nil {
		return nil, nil, fmt.Errorf("logs.redact: %w", err)
	}
	o := logs.DefaultOptions()
	o.Before, o.Baseline, o.Limit, o.Redact, o.Metrics = c.Before.D(), c.Baseline.D(), c.Limit, r, logs.NewMetrics(a.registry)
	add := func(letter string, s logStore, err error) error {
		if err != nil {
			return err
		}
		a.stops.add("connections to "+s.Name(), func(context.Context) error { s.Close(); return nil })
		o.Store, o.Letter = s, letter
		reader, err := logs.New(o)
		observers = append(observers, reader)
		return err
	}
	if x := c.Loki; x != nil {
		s, err := x.open()
		if err = add("l", s, err); err != nil {
			return nil, nil, fmt.Errorf("logs.loki: %w", err)
		}
	}
	if x := c.Elasticsearch; x != nil {
		s, err := x.open()
		if err = add("le", s, err); err != nil {
			return nil, nil, fmt.Errorf("logs.elasticsearch: %w", err)
		}
	}
	return observers, absent, nil
}

type logStore interface {
	logs.Store
	Close()
}

// open makes the client.
func (x *Loki) open() (*logs.Loki, error) {
	o := x.options()
	var err error
	if o.Token, o.Password, err = opened(x.TokenFile, x.PasswordFile); err != nil {
		return nil, err
	}
	return logs.NewLoki(o)
}

// open makes the client.
func (x *Elasticsearch) open() (*logs.Elasticsearch, error) {
	o := x.options()
	var err error
	if o.APIKey, o.Password, err = opened(x.APIKeyFile, x.PasswordFile); err != nil {
		return nil, err
	}
	return logs.NewElasticsearch(o)
}

// opened are the secrets of two files; no file is no secret.
func opened(token, password string) (t, p *secret.File, err error) {
	if token != "" {
		if t, err = secret.Open(token); err != nil {
			return nil, nil, err
		}
	}
	if password != "" {
		p, err = secret.Open(password)
	}
	return t, p, err
}

// defaultLogs is what is asked of a store when nothing else is said.
func defaultLogs() Logs {
	o := logs.DefaultOptions()
	return Logs{Before: incident.Duration(o.Before), Baseline: incident.Duration(o.Baseline), Limit: o.Limit}
}
