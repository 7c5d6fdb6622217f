{{- define "twinlock.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- /* Leaves room for what is put after it, within the 52 characters of a CronJob's name. */}}
{{- define "twinlock.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "twinlock.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "twinlock.selectorLabels" -}}
app.kubernetes.io/name: {{ include "twinlock.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- /* The labels of the server's pods, which Services, budgets and policies select. */}}
{{- define "twinlock.serverLabels" -}}
{{ include "twinlock.selectorLabels" . }}
app.kubernetes.io/component: server
{{- end }}

{{- define "twinlock.labels" -}}
{{- include "twinlock.labelsWith" (dict "root" . "more" dict) -}}
{{- end }}

{{- /* The labels of a thing that has more of them: (dict "root" . "more" LABELS). None is there twice. */}}
{{- define "twinlock.labelsWith" -}}
{{- toYaml (merge (include "twinlock.ownLabels" .root | fromYaml) .more .root.Values.commonLabels) -}}
{{- end }}

{{- define "twinlock.ownLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" | quote }}
{{ include "twinlock.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
{{- end }}

{{- define "twinlock.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "twinlock.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "twinlock.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end }}

{{- /* Each of these is "true" or nothing. */}}
{{- define "twinlock.isService" -}}
{{- if eq .Values.mode "service" }}true{{ end -}}
{{- end }}

{{- define "twinlock.overRedis" -}}
{{- if eq .Values.store.kind "redis" }}true{{ end -}}
{{- end }}

{{- define "twinlock.hasTls" -}}
{{- if or .Values.tls.existingSecret .Values.tls.certManager.enabled }}true{{ end -}}
{{- end }}

{{- /* No server runs while a Job makes or restores the dataset. */}}
{{- define "twinlock.isStopped" -}}
{{- if or .Values.initialize .Values.restore.file }}true{{ end -}}
{{- end }}

{{- define "twinlock.replicas" -}}
{{- if include "twinlock.isStopped" . -}}
0
{{- else if kindIs "invalid" .Values.replicaCount -}}
{{ ternary 2 1 (eq .Values.store.kind "redis") }}
{{- else -}}
{{ .Values.replicaCount }}
{{- end -}}
{{- end }}

{{- define "twinlock.tlsSecret" -}}
{{- .Values.tls.existingSecret | default (printf "%s-tls" (include "twinlock.fullname" .)) -}}
{{- end }}

{{- define "twinlock.claim" -}}
{{- .Values.store.embedded.existingClaim | default (printf "%s-data" (include "twinlock.fullname" .)) -}}
{{- end }}

{{- /* Where the service is reached from within the cluster. */}}
{{- define "twinlock.address" -}}
{{- $scheme := ternary "https" "http" (eq (include "twinlock.hasTls" .) "true") -}}
{{- printf "%s://%s.%s.svc:%v" $scheme (include "twinlock.fullname" .) .Release.Namespace .Values.service.port -}}
{{- end }}

{{- /* A list of the ports of Redis. */}}
{{- define "twinlock.redisPorts" -}}
{{- $ports := .Values.networkPolicy.redisPorts -}}
{{- range .Values.store.redis.urls -}}
{{- with regexFind ":[0-9]+$" (trimSuffix "/" .) -}}
{{- $ports = append $ports (trimPrefix ":" . | int) -}}
{{- else -}}
{{- $ports = append $ports 6379 -}}
{{- end -}}
{{- end -}}
{{- $unique := dict -}}
{{- range $ports }}{{ $_ := set $unique (. | int | printf "%05d") (. | int) }}{{ end -}}
{{- $sorted := list -}}
{{- range $unique }}{{ $sorted = append $sorted . }}{{ end -}}
{{- toJson $sorted -}}
{{- end }}
