package alertmanager

import (
	"fmt"
	"strings"
	"time"
)

// yaml is Alertmanager's configuration: one route, one receiver.
func (o Options) yaml() string {
	quoted := make([]string, len(o.GroupBy))
	for i, l := range o.GroupBy {
		quoted[i] = fmt.Sprintf("%q", l)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `route:
  receiver: kmend
  group_by: [%s]
  group_wait: %s
  group_interval: %s
  repeat_interval: %s
receivers:
  - name: kmend
    webhook_configs:
      - url: %q
        send_resolved: true
`, strings.Join(quoted, ", "), promDuration(o.GroupWait), promDuration(o.GroupInterval), promDuration(o.RepeatInterval), o.WebhookURL)
	if o.TokenFile != "" {
		fmt.Fprintf(&b, `        http_config:
          authorization:
            type: Bearer
            credentials_file: %q
`, o.TokenFile)
	}
	return b.String()
}

// promDuration writes d the way Prometheus reads it: whole milliseconds.
func promDuration(d time.Duration) string { return fmt.Sprintf("%dms", max(d.Milliseconds(), 1)) }
