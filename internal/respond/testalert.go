package respond

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/kmend/kmend/incident"
)

// TestAlert opens an incident for a test alert with these labels, and says its id. It
// goes the whole way of any other and never changes anything: its plan is decided as a
// dry run here, and the store refuses what would act. It is nobody else's incident: no
// delivery joins it, it waits for no claim and has none, and is no part of another.
func (r *Responder) TestAlert(ctx context.Context, labels map[string]string, posted bool) (id string, err error) {
	if r.stopped() {
		return "", ErrStopped
	}
	a := incident.Alert{Status: incident.Firing, Labels: labels, StartsAt: time.Now().UTC(),
		Annotations: map[string]string{"summary": "A test alert (kmend test-alert): nothing is changed."}}
	seeds := r.split(incident.Notification{Source: "kmend", Receiver: "test-alert", GroupKey: "test/" + rand.Text(), Status: incident.Firing, Alerts: []incident.Alert{a}})
	for i := range seeds {
		seeds[i].Test, seeds[i].TestPosted, seeds[i].ExtendWithin = true, posted, 0
	}
	done, err := r.take(ctx, seeds)
	if err != nil {
		return "", err
	}
	if len(done) != 1 || done[0].ID == "" {
		return "", fmt.Errorf("a test alert opened %d incidents", len(done))
	}
	return done[0].ID, nil
}
