{{- define "kmend.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 39 | trimSuffix "-" }}
{{- else if contains "kmend" .Release.Name -}}
{{ .Release.Name | trunc 39 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-kmend" .Release.Name | trunc 39 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{- /* Labels by which pods are selected; they never change. (list $ component) */}}
{{- define "kmend.selector" -}}
{{- $ := index . 0 -}}
app.kubernetes.io/name: kmend
app.kubernetes.io/instance: {{ $.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- /* Labels of every object. */}}
{{- define "kmend.labels" -}}
app.kubernetes.io/name: kmend
app.kubernetes.io/instance: {{ .Release.Name }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* (list $ image) */}}
{{- define "kmend.image" -}}
{{- $ := index . 0 -}}{{- $i := index . 1 -}}
{{- if $i.digest -}}
{{ $i.repository }}@{{ $i.digest }}
{{- else -}}
{{ $i.repository }}:{{ $i.tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "kmend.tokens" -}}
{{ .Values.tokens.existingSecret | default (printf "%s-tokens" (include "kmend.fullname" .)) }}
{{- end }}

{{- define "kmend.certificate" -}}
{{- if eq .Values.tls.mode "existing" -}}
{{ required "tls.mode is existing: set tls.existingSecret to the Secret with ca.crt, tls.crt and tls.key, or tls.mode to self or cert-manager" .Values.tls.existingSecret }}
{{- else -}}
{{ include "kmend.fullname" . }}-agent-tls
{{- end -}}
{{- end }}

{{- /* What a program of kmend's needs beside its own files: nothing. */}}
{{- define "kmend.confined" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- /* kmend.yaml: the values' config over what this chart knows. */}}
{{- define "kmend.config" -}}
{{- $name := include "kmend.fullname" . -}}
{{- $c := dict "apiVersion" "kmend.dev/v1" "kind" "Config" "listen" ":9790" "dryRun" true -}}
{{- if .Values.database.postgres.existingSecret -}}
{{- $_ := set $c "databaseFile" (printf "/etc/kmend/database/%s" .Values.database.postgres.key) -}}
{{- else -}}
{{- $_ := set $c "dataDir" "/var/lib/kmend" -}}
{{- end -}}
{{- $_ := set $c "webhook" (dict "bearerTokenFile" "/etc/kmend/tokens/webhook") -}}
{{- $_ := set $c "api" (dict "tokenFile" "/etc/kmend/tokens/api") -}}
{{- $selector := printf "app.kubernetes.io/name=kmend,app.kubernetes.io/instance=%s,app.kubernetes.io/component=agent" .Release.Name -}}
{{- $_ := set $c "agents" (dict "local" false "caFile" "/etc/kmend/agents/ca.crt" "tokenFile" "/etc/kmend/agents/token"
  "kubernetes" (dict "namespace" .Release.Namespace "selector" $selector "port" (int .Values.agent.port))) -}}
{{- $_ := set $c "kubernetes" (dict "enabled" true "pause" (dict "namespace" .Release.Namespace "configMap" $name)) -}}
{{- if and (eq .Values.rbac.mode "namespaced") .Values.rbac.namespaces -}}{{- $_ := set $c.kubernetes "namespaces" .Values.rbac.namespaces -}}{{- end -}}
{{- if .Values.runbooks -}}{{- $_ := set $c "runbooks" (list "/etc/kmend/runbooks") -}}{{- end -}}
{{- if .Values.policies -}}{{- $_ := set $c "policies" (list "/etc/kmend/policies") -}}{{- end -}}
{{- toYaml (mergeOverwrite $c (deepCopy .Values.config)) -}}
{{- end }}

{{- /* How far an action's rights go. (dict "root" $ "name" "resize"), after its ClusterRole. */}}
{{- define "kmend.bound" -}}
{{- $ := .root -}}{{- $name := printf "%s-%s" (include "kmend.fullname" $) .name -}}
{{- $namespaces := list "" -}}
{{- if eq $.Values.rbac.mode "namespaced" -}}{{- $namespaces = $.Values.rbac.namespaces -}}{{- end -}}
{{- range $namespaces }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ ternary "RoleBinding" "ClusterRoleBinding" (ne . "") }}
metadata:
  name: {{ $name }}
  {{- if . }}
  namespace: {{ . }}
  {{- end }}
  labels:
    {{- include "kmend.labels" $ | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {{ $name }}
subjects:
  - kind: ServiceAccount
    name: {{ include "kmend.fullname" $ }}
    namespace: {{ $.Release.Namespace }}
{{- end }}
{{- end }}
