package redact

import (
	"strings"
	"testing"
)

func TestRedact(t *testing.T) {
	r, err := New([]string{`ACME-\d+`})
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		"password=hunter2 and more":                                           "password=[secret] and more",
		`db_password: "two words" x`:                                          `db_password: [secret] x`,
		"API-KEY=abcdef":                                                      "API-KEY=[secret]",
		"Authorization: Bearer abc.def-ghi":                                   "Authorization: Bearer [secret]",
		"token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln":                     "token [secret]",
		"AKIAIOSFODNN7EXAMPLE":                                                "[secret]",
		"ghp_" + strings.Repeat("a", 36):                                      "[secret]",
		"xoxb-1234567890-abcdefghij":                                          "[secret]",
		"sk-ant-" + strings.Repeat("a1", 10):                                  "[secret]",
		"postgres://ada:pw@db/shop":                                           "postgres://[secret]@db/shop",
		"-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----": "[secret]",
		"-----BEGIN PRIVATE KEY-----\nMII and it is cut":                      "[secret]",
		"mail ada.l+x@mail.example.com now":                                   "mail [e-mail] now",
		"order ACME-4711":                                                     "order [redacted]",
		"pod shop/cart-7f9c/app throttled 6080 of 7168 ms":                    "pod shop/cart-7f9c/app throttled 6080 of 7168 ms",
	} {
		if got := r.Redact(in); got != want {
			t.Errorf("Redact(%q) = %q; want %q", in, got, want)
		}
	}
	for pattern, want := range map[string]string{"(": `pattern 1, "("`, "x*": "matches the empty text"} {
		if _, err := New([]string{pattern}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New(%q): %v; want %q", pattern, err, want)
		}
	}
}
