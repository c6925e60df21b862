// Package workloads knows the pods of a cluster and what they belong to: it answers
// which pods are behind the name that an alert gives (a Deployment, a Service, a
// CronJob), whose an address is, and which workload and services a pod belongs to.
// diagnose/investigate asks it on the way from an alert to the pods to measure.
//
// It watches the Kubernetes API and keeps of each object the few fields that the
// answers need. deploy/rbac/watch.yaml has the rights.
package workloads
