package webhook

import (
	"fmt"
	"net/http"
)

// NewAlertmanager makes the handler of Alertmanager's webhook_configs URL.
func NewAlertmanager(ingest Ingester, opts Options) (http.Handler, error) {
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("making Alertmanager's webhook: %w", err)
	}
	g, err := newGate(opts)
	if err != nil {
		return nil, err
	}
	return &handler{ingest: ingest, opts: opts, sender: sender{name: "Alertmanager", methods: []string{http.MethodPost}, secrets: g, challenge: g.challenge(), parse: ParseAlertmanager,
		asks: "set http_config.authorization or http_config.basic_auth in Alertmanager's webhook_config"}}, nil
}
