package app

import (
	"fmt"
	"net/url"
	"time"

	"github.com/kmend/kmend/diagnose/investigate"
	"github.com/kmend/kmend/diagnose/traces"
	"github.com/kmend/kmend/incident"
	"github.com/kmend/kmend/internal/secret"
)

// Traces configures who knows how requests go from service to service.
type Traces struct {
	Jaeger TraceStore `json:"jaeger,omitempty"`
	Tempo  TraceStore `json:"tempo,omitempty"`
	// ServiceLabels name the service of an alert.
	ServiceLabels []string          `json:"serviceLabels,omitempty" jsonschema:"minItems=1,maxItems=10" jsonschema_description:"Labels of an alert whose value is the service's name in traces; the first that has traces counts."`
	Window        incident.Duration `json:"window,omitempty" jsonschema_description:"How long before an alert its slow and failing traces are looked for: 0s to 1h."`
	Baseline      incident.Duration `json:"baseline,omitempty" jsonschema_description:"How long before that the traces are taken that they are compared with: 1m to 168h."`
	Timeout       incident.Duration `json:"timeout,omitempty" jsonschema_description:"How long one alert's questions may take together: 100ms to 1m."`
	Depth         int               `json:"depth,omitempty" jsonschema:"minimum=1,maximum=10" jsonschema_description:"How many services are measured at most after the alert's own, also where sockets lead to them."`
}

// TraceStore is one Jaeger or Tempo.
type TraceStore struct {
	URL       string `json:"url,omitempty" jsonschema_description:"Of its query API: http://HOST:PORT or https://HOST:PORT, with the path prefix if there is one."`
	TokenFile string `json:"tokenFile,omitempty" jsonschema_description:"File of the bearer token that it asks for."`
}

func defaultTraces() Traces {
	i, t := investigate.DefaultOptions(), traces.DefaultOptions()
	return Traces{ServiceLabels: i.ServiceLabels, Window: incident.Duration(i.Before), Baseline: incident.Duration(t.Baseline),
		Timeout: incident.Duration(t.Timeout), Depth: i.Depth}
}

// stores are those that may be configured, by name.
func (t *Traces) stores() map[string]*TraceStore {
	return map[string]*TraceStore{traces.Jaeger: &t.Jaeger, traces.Tempo: &t.Tempo}
}

func (t *Traces) resolve() []*string { return []*string{&t.Jaeger.TokenFile, &t.Tempo.TokenFile} }

func (t *Traces) check(k *checker) {
	k.duration("traces.window", t.Window, 0, time.Hour)
	k.duration("traces.baseline", t.Baseline, time.Minute, 7*24*time.Hour)
	k.duration("traces.timeout", t.Timeout, 100*time.Millisecond, time.Minute)
	for _, name := range []string{traces.Jaeger, traces.Tempo} {
		s, path := t.stores()[name], "traces."+name
		if s.TokenFile != "" {
			k.secret(path+".tokenFile", s.TokenFile)
		}
		if s.URL == "" {
			if s.TokenFile != "" {
				k.at(path+".tokenFile", "%s.tokenFile is set and %s.url is not", path, path)
			}
			continue
		}
		u, err := url.Parse(s.URL)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" {
			k.at(path+".url", "%s.url is no URL of a query API; want http://HOST:PORT or https://HOST:PORT, with the path prefix if there is one", path)
			continue
		}
		if local, err := loopback(u.Host); s.TokenFile != "" && u.Scheme == "http" && (err != nil || !local) {
			k.at(path+".url", "%s.url is %q: the token would cross the network unencrypted; use https", path, s.URL)
		}
	}
}

// tracers opens those that are configured; absent are the others.
func (t *Traces) tracers() (found []investigate.Tracer, absent []incident.Source, err error) {
	for _, name := range []string{traces.Jaeger, traces.Tempo} {
		s := t.stores()[name]
		if s.URL == "" {
			absent = append(absent, absentSource(name, "traces."+name+".url is not set"))
			continue
		}
		o := traces.DefaultOptions()
		o.System, o.URL, o.Baseline, o.Timeout = name, s.URL, t.Baseline.D(), t.Timeout.D()
		if s.TokenFile != "" {
			if o.Token, err = secret.Open(s.TokenFile); err != nil {
				return nil, nil, fmt.Errorf("opening traces.%s.tokenFile: %w", name, err)
			}
		}
		source, err := traces.New(o)
		if err != nil {
			return nil, nil, err
		}
		found = append(found, source)
	}
	return found, absent, nil
}
