// Package webhook is the first stage: it takes the notifications that
// Alertmanager and Grafana send, checks who sends them and that they are whole, and hands
// them on as an incident.Notification. It answers 2xx only after the next stage
// has committed them; what it answers otherwise tells the sender whether trying
// again can help (503) or not (4xx).
package webhook
