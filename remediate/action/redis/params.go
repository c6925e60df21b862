package redis

import (
	"fmt"
	"math"
	"net"
	"strconv"
	"time"

	"github.com/kmend/kmend/incident"
)

// Names that runbooks write.
const (
	SentinelName = "redis.sentinel_failover"
	ClusterName  = "redis.cluster_failover"
)

// Defaults of the bounds. A replica must have got all that the master had when it
// was asked. An idle master sends its replicas something every ten
// seconds (repl-ping-replica-period), so a silence of that length is none.
const (
	defaultLagBytes   = 0
	defaultLagSeconds = 10
	defaultInterval   = 10 * time.Minute
)

// SentinelParams are the parameters of redis.sentinel_failover.
type SentinelParams struct {
	Sentinels []string `json:"sentinels" jsonschema:"minItems=1,maxItems=15" jsonschema_description:"The Sentinels, each as host:port. A majority of them must answer."`
	Master    string   `json:"master" jsonschema:"pattern=^[A-Za-z0-9._-]+$,maxLength=200" jsonschema_description:"The name by which the Sentinels know the master."`
	From      string   `json:"from,omitempty" jsonschema_description:"host:port: fail over only while this is the master."`
	Bounds
	Access
	SentinelUsername     string `json:"sentinelUsername,omitempty" jsonschema_description:"The ACL user at the Sentinels."`
	SentinelPasswordFile string `json:"sentinelPasswordFile,omitempty" jsonschema_description:"A file with the password for the Sentinels."`
}

// ClusterParams are the parameters of redis.cluster_failover.
type ClusterParams struct {
	Nodes []string `json:"nodes" jsonschema:"minItems=1,maxItems=50" jsonschema_description:"Nodes of the Cluster, each as host:port. A majority of them must answer."`
	From  string   `json:"from" jsonschema_description:"The master to replace: its host:port as in CLUSTER NODES, or its node id."`
	Bounds
	Access
}

// Bounds are the parameters of what a replica must keep to be made master.
type Bounds struct {
	MaxLagBytes   *int64             `json:"maxLagBytes,omitempty" jsonschema:"minimum=0" jsonschema_description:"A replica may lack this many bytes of what the master had a second ago. Default 0."`
	MaxLagSeconds *int               `json:"maxLagSeconds,omitempty" jsonschema:"minimum=1,maximum=3600" jsonschema_description:"A replica may have heard nothing from the master for this long. Default 10."`
	MinInterval   *incident.Duration `json:"minInterval,omitempty" jsonschema_description:"The replicas must have been connected to this master for so long: no failover soon after another. 0s to 24h. Default 10m."`
}

// Access are the parameters of how the servers are reached.
type Access struct {
	Username     string `json:"username,omitempty" jsonschema_description:"The ACL user at the Redis servers."`
	PasswordFile string `json:"passwordFile,omitempty" jsonschema_description:"A file with the password for the Redis servers."`
	TLS          bool   `json:"tls,omitempty" jsonschema_description:"Use TLS, to Sentinels too; caFile and certFile mean it as well."`
	CAFile       string `json:"caFile,omitempty" jsonschema_description:"A PEM file with the authorities that sign their certificates. Default: the machine's."`
	CertFile     string `json:"certFile,omitempty" jsonschema_description:"A PEM file with the certificate that kmend shows."`
	KeyFile      string `json:"keyFile,omitempty" jsonschema_description:"A PEM file with the key of certFile."`
}

// bounds are what a replica must keep to be made master.
type bounds struct {
	bytes    int64
	seconds  int
	interval time.Duration
}

// checked are the bounds, with the defaults where they do not say.
func (p Bounds) checked() (bounds, error) {
	b := bounds{defaultLagBytes, defaultLagSeconds, defaultInterval}
	if p.MaxLagBytes != nil {
		b.bytes = *p.MaxLagBytes
	}
	if p.MaxLagSeconds != nil {
		b.seconds = *p.MaxLagSeconds
	}
	if p.MinInterval != nil {
		b.interval = p.MinInterval.D()
	}
	switch {
	case b.bytes < 0:
		return b, fmt.Errorf("with.maxLagBytes: %d is out of bounds; allowed: 0 to %d", b.bytes, int64(math.MaxInt64))
	case b.seconds < 1 || b.seconds > 3600:
		return b, fmt.Errorf("with.maxLagSeconds: %d is out of bounds; allowed: 1 to 3600", b.seconds)
	case b.interval < 0 || b.interval > 24*time.Hour:
		return b, fmt.Errorf("with.minInterval: %s is out of bounds; allowed: 0s to 24h", b.interval)
	}
	return b, nil
}

// addresses checks a list of host:port.
func addresses(field string, list []string) error {
	if len(list) == 0 {
		return fmt.Errorf("with.%s is missing: give host:port of each", field)
	}
	seen := map[string]bool{}
	for i, a := range list {
		if !isAddress(a) {
			return fmt.Errorf("with.%s[%d]: %q is not host:port", field, i, a)
		}
		if seen[a] {
			return fmt.Errorf("with.%s[%d]: %s is there twice", field, i, a)
		}
		seen[a] = true
	}
	return nil
}

func isAddress(a string) bool {
	host, port, err := net.SplitHostPort(a)
	n, bad := strconv.ParseUint(port, 10, 16)
	return err == nil && bad == nil && n > 0 && host != ""
}
