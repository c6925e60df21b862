// Package slack stands in for Slack in tests: the Web API's methods that kmend
// calls, with bearer tokens, the limits of Block Kit and of the rate; clicks that
// are signed as Slack signs them, or come over a WebSocket (Socket Mode); and the
// response_url. It refuses what Slack refuses, so that a test fails where
// Slack would.
package slack
