package llm

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// ErrNoList: the server tells nobody which models it has. Whether it has the
// configured one, only a summary shows.
var ErrNoList = errors.New("it does not list its models")

// Examine asks the provider for its model of this name, with the key and without
// a word of any incident: nothing is generated. ErrRefused, wrapped, is that the key
// or the model is not known there.
func (m provider) Examine(ctx context.Context) error {
	key := ""
	if m.file != nil {
		var err error
		if key, err = m.file.Value(); err != nil {
			return err
		}
	}
	if err := m.list(ctx, key); err != nil {
		return m.failed(key, err)
	}
	return nil
}

// list asks for one model: GET /models/NAME is the same in both APIs, below their own
// roots.
func (m provider) list(ctx context.Context, key string) error {
	root := strings.TrimSuffix(m.URL, "/")
	if m.vendor == "anthropic" {
		root += "/v1"
	}
	status, _, err := m.get(ctx, root+"/models/"+url.PathEscape(m.Model), key)
	if err != nil || status == http.StatusOK {
		return err
	}
	if status != http.StatusNotFound && status != http.StatusMethodNotAllowed {
		return refusal(status)
	}
	// Some local servers know the list only.
	status, body, err := m.get(ctx, root+"/models", key)
	if err != nil {
		return err
	}
	switch {
	case status == http.StatusNotFound || status == http.StatusMethodNotAllowed:
		return ErrNoList
	case status != http.StatusOK:
		return refusal(status)
	}
	var answer struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return ErrNoList
	}
	for _, d := range answer.Data {
		if d.ID == m.Model {
			return nil
		}
	}
	return errNoModel
}

var errNoModel = errors.Join(ErrRefused, errors.New("there is no such model"))

func (m provider) get(ctx context.Context, at, key string) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Accept", "application/json")
	switch {
	case m.vendor == "anthropic":
		req.Header.Set("X-Api-Key", key)
		req.Header.Set("Anthropic-Version", "2023-06-01")
	case key != "":
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := m.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}
