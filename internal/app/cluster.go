package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	client "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kmend/kmend/diagnose/workloads"
)

// apiTimeout bounds one request to the Kubernetes API.
const apiTimeout = 10 * time.Second

// apiQPS and apiBurst bound kmend's requests to the Kubernetes API. An incident
// makes some twenty (docs/scale.md): ten incidents a second. With fewer requests
// those of 200 incidents at once would wait longer than a request may take.
const apiQPS, apiBurst = 200, 400

// binary makes a client of the API's own types speak protobuf, which takes a fraction
// of JSON's time and memory. Custom resources, which have none, still come as JSON.
func binary(conf *rest.Config) *rest.Config {
	conf = rest.CopyConfig(conf)
	conf.ContentType, conf.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf+","+runtime.ContentTypeJSON
	return conf
}

// cluster is the client of the Kubernetes API and the one for objects whose
// types it does not know, both nil when it is not configured. They connect when
// they are used: an API server that is down does not keep kmend from starting.
func (c Config) cluster(version string) (client.Interface, dynamic.Interface, error) {
	if !c.Kubernetes.Enabled {
		return nil, nil, nil
	}
	conf, err := c.Kubernetes.rest()
	if err != nil {
		return nil, nil, err
	}
	conf.Timeout = apiTimeout
	conf.UserAgent, conf.QPS, conf.Burst = "kmend/"+version, apiQPS, apiBurst
	d, err := dynamic.NewForConfig(conf)
	if err != nil {
		return nil, nil, fmt.Errorf("making the dynamic client of the Kubernetes API: %w", err)
	}
	k, err := client.NewForConfig(binary(conf))
	if err != nil {
		return nil, nil, fmt.Errorf("making the client of the Kubernetes API: %w", err)
	}
	return k, d, nil
}

// watched is what is known of the cluster's pods; nil where there is no cluster. Its
// client's requests have no time limit: a watch lasts.
func (c Config) watched(version string, log *slog.Logger) (*workloads.Workloads, error) {
	if !c.Kubernetes.Enabled {
		return nil, nil
	}
	conf, err := c.Kubernetes.rest()
	if err != nil {
		return nil, err
	}
	conf.UserAgent = "kmend/" + version
	o := workloads.DefaultOptions()
	if o.Client, err = client.NewForConfig(binary(conf)); err != nil {
		return nil, fmt.Errorf("making the client that watches the cluster: %w", err)
	}
	o.Cluster, o.Logger = c.Cluster, log
	return workloads.New(o)
}

func (k Kubernetes) rest() (*rest.Config, error) {
	if k.Kubeconfig == "" {
		conf, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("using the pod's service account: %w; outside a cluster set kubernetes.kubeconfig", err)
		}
		conf.Dial = dialFromPod
		return conf, nil
	}
	conf, err := clientcmd.BuildConfigFromFlags("", k.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading kubernetes.kubeconfig %s: %w", k.Kubeconfig, err)
	}
	return conf, nil
}

// dialFromPod connects as client-go does by itself, in a pod's words where it cannot.
func dialFromPod(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: apiTimeout, KeepAlive: 30 * time.Second}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, fmt.Errorf("connecting to the API server: %w; look whether kmend's NetworkPolicy (egress) allows its port", err)
	}
	return conn, nil
}
