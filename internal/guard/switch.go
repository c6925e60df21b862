package guard

import (
	"context"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	client "k8s.io/client-go/kubernetes"

	"github.com/kmend/kmend/internal/store"
)

// Pauses knows whether somebody said `kmend pause` (internal/store).
type Pauses interface {
	Paused(ctx context.Context) (p store.Pause, ok bool, err error)
}

// Command is the switch of `kmend pause` and `kmend resume`.
type Command struct{ Pauses Pauses }

// Paused is who paused kmend, since when and why.
func (c Command) Paused(ctx context.Context) (string, error) {
	p, paused, err := c.Pauses.Paused(ctx)
	if err != nil || !paused {
		return "", err
	}
	why := fmt.Sprintf("kmend is paused by %s since %s", p.By, p.At.UTC().Format(time.RFC3339))
	if p.Reason != "" {
		why += ": " + p.Reason
	}
	return why, nil
}

// ConfigMap is the switch that a cluster's administrators reach with kubectl: any
// value of the key but "" and "false" pauses. A ConfigMap that is not there pauses
// too, so that deleting the switch does not let kmend loose.
type ConfigMap struct {
	Client               client.Interface
	Namespace, Name, Key string
}

// Paused reads the key.
func (c ConfigMap) Paused(ctx context.Context) (string, error) {
	m, err := c.Client.CoreV1().ConfigMaps(c.Namespace).Get(ctx, c.Name, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("reading the switch in ConfigMap %s/%s: %w", c.Namespace, c.Name, err)
	}
	value := strings.TrimSpace(m.Data[c.Key])
	if value == "" || strings.EqualFold(value, "false") {
		return "", nil
	}
	return fmt.Sprintf("kmend is paused by ConfigMap %s/%s: %s is %.200q", c.Namespace, c.Name, c.Key, value), nil
}
