package app

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kmend/kmend/incident"
)

// SLO is a service level objective: what its alerts are about, and how it is counted.
type SLO struct {
	Name      string `json:"name" jsonschema:"minLength=1,maxLength=253" jsonschema_description:"As alerts name it, in one of the labels of diagnose.labels.slo."`
	Namespace string `json:"namespace" jsonschema:"minLength=1,maxLength=63"`
	Workload  string `json:"workload,omitempty" jsonschema_description:"KIND/NAME of what its pods are of: Deployment/cart. Or service."`
	Service   string `json:"service,omitempty" jsonschema:"maxLength=253" jsonschema_description:"The Kubernetes Service in front of its pods. Or workload."`
	// How it is counted.
	Objective float64           `json:"objective,omitempty" jsonschema_description:"The share of requests that meet it: 0.999. Needed with requests."`
	Window    incident.Duration `json:"window,omitempty" jsonschema_description:"What its error budget is for: 1h to 2160h; default 720h."`
	Errors    string            `json:"errors,omitempty" jsonschema_description:"PromQL that gives the number of requests that missed it in $window."`
	Requests  string            `json:"requests,omitempty" jsonschema_description:"PromQL that gives the number of all requests in $window."`
}

// Suspect is a query that tells the pods apart that an alert is about.
type Suspect struct {
	Alert    string            `json:"alert,omitempty" jsonschema_description:"Regular expression that the alert's whole name matches; default any."`
	Labels   map[string]string `json:"labels,omitempty" jsonschema_description:"Labels that the alert has; default any."`
	Query    string            `json:"query" jsonschema:"minLength=1,maxLength=10000" jsonschema_description:"PromQL that gives a number for each pod, more for the more suspicious. It may have $namespace, $workload, $service, $container, $node and $pods."`
	PodLabel string            `json:"podLabel,omitempty" jsonschema:"pattern=^[a-zA-Z_][a-zA-Z0-9_]*$" jsonschema_description:"The label of its series that holds the pod's name; default pod."`
}

// sloWindow is an SLO's where it does not say one.
const sloWindow = 30 * 24 * time.Hour

var workloadForm = regexp.MustCompile(`^(Deployment|StatefulSet|DaemonSet|ReplicaSet|Job|CronJob)/(.+)$`)

// checkSLOs checks what alerts may name and how it is counted.
func (c Config) checkSLOs(k *checker) {
	names := map[string]bool{}
	for i, s := range c.SLOs {
		field := fmt.Sprintf("slos.%d", i)
		if names[s.Name] {
			k.at(field+".name", "slos[%d].name %q is there twice", i, s.Name)
		}
		names[s.Name] = true
		if problem := namespaceName(s.Namespace); problem != "" {
			k.at(field+".namespace", "slos[%d].namespace is %q: %s", i, s.Namespace, problem)
		}
		switch m := workloadForm.FindStringSubmatch(s.Workload); {
		case (s.Workload == "") == (s.Service == ""):
			k.at(field, "slos[%d] must have one of workload and service", i)
		case s.Workload != "" && (m == nil || len(validation.IsDNS1123Subdomain(m[2])) > 0):
			k.at(field+".workload", "slos[%d].workload is %q; want KIND/NAME with one of Deployment, StatefulSet, DaemonSet, ReplicaSet, Job, CronJob", i, s.Workload)
		case s.Service != "" && len(validation.IsDNS1035Label(s.Service)) > 0:
			k.at(field+".service", "slos[%d].service is %q: %s", i, s.Service, strings.Join(validation.IsDNS1035Label(s.Service), "; "))
		}
		switch {
		case (s.Requests == "") != (s.Errors == ""):
			k.at(field, "slos[%d] has one of requests and errors; its error budget needs both", i)
		case s.Requests == "":
		case c.Prometheus.URL == "":
			k.at(field+".requests", "slos[%d].requests needs prometheus.url", i)
		default:
			if err := s.counted().Check(); err != nil {
				k.at(field, "slos[%d]: %v", i, err)
			}
		}
	}
}

// checkSuspects checks the queries that tell pods apart.
func (c Config) checkSuspects(k *checker) {
	for i, s := range c.Prometheus.Suspects {
		field := fmt.Sprintf("prometheus.suspects.%d", i)
		q, err := s.query()
		if err != nil {
			k.at(field+".alert", "prometheus.suspects[%d].alert: %v", i, err)
		}
		if err := q.Check(); err != nil {
			k.at(field+".query", "prometheus.suspects[%d]: %v", i, err)
		}
		if c.Prometheus.URL == "" {
			k.at(field, "prometheus.suspects needs prometheus.url")
		}
	}
}
