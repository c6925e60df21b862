// Package pagerduty is one end of the flow: it writes what kmend finds, decides
// and does as notes on the PagerDuty incident that Alertmanager or Grafana opened
// for the same alerts, and pages somebody itself where kmend failed at something.
package pagerduty
