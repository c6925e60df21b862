// Package redact takes secrets and e-mail addresses out of texts that leave kmend:
// what a language model is asked, and what of log lines is shown. What it knows
// are the usual forms; the configuration adds patterns.
package redact

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Redactor takes secrets and addresses out of a text. The zero one knows the usual forms.
type Redactor struct{ own []*regexp.Regexp }

// redaction is what is put in place of what a pattern finds. The expressions are
// RE2: their time is linear in the text, which strangers write. It is long all the
// same, so they are tried only where one of the hints is in the text's small letters.
type redaction struct {
	hints   []string
	pattern *regexp.Regexp
	with    string
}

var redactions = []redaction{
	{[]string{"private key-----"}, regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(-----END [A-Z0-9 ]*PRIVATE KEY-----|$)`), "[secret]"},
	{[]string{"eyj"}, regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(\.[A-Za-z0-9_-]*)?`), "[secret]"},                                     // JSON Web Token
	{[]string{"bearer", "basic"}, regexp.MustCompile(`(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}`), "$1 [secret]"},                                     // RFC 6750, RFC 7617
	{[]string{"akia", "asia"}, regexp.MustCompile(`\b(AKIA|ASIA)[A-Z0-9]{16}\b`), "[secret]"},                                                             // AWS access key id
	{[]string{"gh", "glpat-"}, regexp.MustCompile(`\b(gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,})`), "[secret]"},                      // GitHub, GitLab
	{[]string{"xox", "xapp-"}, regexp.MustCompile(`\b(xox[abeoprs]|xapp)-[A-Za-z0-9-]{10,}`), "[secret]"},                                                 // Slack
	{[]string{"hooks.slack.com/"}, regexp.MustCompile(`\bhooks\.slack\.com/[\w/.-]+`), "[secret]"},                                                        // Slack's incoming webhooks
	{[]string{"sk", "pk-", "rk", "aiza"}, regexp.MustCompile(`\b(sk|pk|rk)-[A-Za-z0-9_-]{16,}|\b[sr]k_(live|test)_\w{10,}|\bAIza[\w-]{30,}`), "[secret]"}, // Anthropic, OpenAI, Stripe, Google
	{[]string{"://"}, regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://)[^\s/@:]*:[^\s/@]*@`), "$1[secret]@"},                                               // user:password@ of a URL
	{[]string{"passw", "passphrase", "secret", "token", "key", "credential"},
		regexp.MustCompile(`(?i)([\w.-]*(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|access[_-]?key|credential|private[_-]?key)[\w.-]*["']?\s*[=:]\s*)("[^"]*"|'[^']*'|[^\s,;&]+)`), "$1[secret]"},
	{[]string{"@"}, regexp.MustCompile(`(?i)[a-z0-9._%+-]+@[a-z0-9-]+(\.[a-z0-9-]+)+`), "[e-mail]"},
}

// New makes a Redactor that also takes out what patterns match: regular
// expressions in Go's syntax.
func New(patterns []string) (Redactor, error) {
	var r Redactor
	for i, p := range patterns {
		re, err := regexp.Compile(p)
		if err != nil {
			return r, fmt.Errorf("pattern %d, %q: %w", i+1, p, err)
		}
		if re.MatchString("") {
			return r, fmt.Errorf("pattern %d, %q, matches the empty text; it would redact everything", i+1, p)
		}
		r.own = append(r.own, re)
	}
	return r, nil
}

// Redact is s without what looks like a secret or an e-mail address.
func (r Redactor) Redact(s string) string {
	for _, re := range r.own {
		s = re.ReplaceAllLiteralString(s, "[redacted]")
	}
	small := strings.ToLower(s)
	for _, x := range redactions {
		if slices.ContainsFunc(x.hints, func(h string) bool { return strings.Contains(small, h) }) {
			s = x.pattern.ReplaceAllString(s, x.with)
		}
	}
	return s
}
