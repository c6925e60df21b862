package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// pauseCmd is `kmend pause`.
type pauseCmd struct {
	remote
	Reason string `placeholder:"TEXT" help:"Why, for those who wonder."`
	Status bool   `help:"Only say whether it is paused."`
	Output string `short:"o" enum:"text,json" default:"text" help:"text or json."`
}

// resumeCmd is `kmend resume`.
type resumeCmd struct {
	remote
	Output string `short:"o" enum:"text,json" default:"text" help:"text or json."`
}

// pauseState is what the server answers.
type pauseState struct {
	Paused bool   `json:"paused"`
	Why    string `json:"why,omitempty"`
	Pause  *struct {
		By     string    `json:"by"`
		Reason string    `json:"reason,omitempty"`
		At     time.Time `json:"at"`
	} `json:"pause,omitempty"`
}

// Run stops every change at once: what is being changed is broken off where it
// can be, and nothing is put back.
func (c *pauseCmd) Run(ctx context.Context, out *output) error {
	if c.Status {
		return c.ask(ctx, out, http.MethodGet, nil, c.Output)
	}
	return c.ask(ctx, out, http.MethodPut, map[string]string{"reason": c.Reason}, c.Output)
}

// Run lets kmend act again. What was denied meanwhile stays denied.
func (c *resumeCmd) Run(ctx context.Context, out *output) error {
	return c.ask(ctx, out, http.MethodDelete, nil, c.Output)
}

func (r remote) ask(ctx context.Context, out *output, method string, body any, format string) error {
	var raw json.RawMessage
	if err := r.call(ctx, method, "/api/v1/pause", body, &raw); err != nil {
		return err
	}
	if format == "json" {
		_, err := fmt.Fprintf(out.Stdout, "%s\n", raw)
		return err
	}
	var state pauseState
	if err := json.Unmarshal(raw, &state); err != nil {
		return fmt.Errorf("reading the answer of %s: %w", r.Server, err)
	}
	text := "kmend is not paused"
	if state.Paused {
		text = printable(state.Why)
		if method == http.MethodDelete {
			return fmt.Errorf("it stays paused: %s", text)
		}
	}
	_, err := fmt.Fprintln(out.Stdout, text)
	return err
}
