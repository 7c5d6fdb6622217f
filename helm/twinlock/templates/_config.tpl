{{- /*
twinlock.toml: what the chart knows itself, and `config`. Helm's own toToml writes whole numbers as fractions, so
this does without; JSON's scalars and lists of scalars are TOML's.
*/}}
{{- define "twinlock.config" -}}
{{- include "twinlock.checked" . -}}
{{- $values := .Values -}}
{{- $redis := .Values.store.redis -}}
{{- $files := "/run/secrets/twinlock" -}}
{{- $server := dict -}}
{{- $telemetry := dict "listen" "127.0.0.1:9238" -}}
{{- if eq (include "twinlock.isService" .) "true" -}}
  {{- $_ := set $server "listen" (printf "%s:6238" .Values.listenHost) -}}
  {{- $_ := set $telemetry "listen" (printf "%s:9238" .Values.listenHost) -}}
  {{- if .Values.insecure }}{{ $_ := set $server "insecure" true }}{{ end -}}
  {{- if eq (include "twinlock.hasTls" .) "true" -}}
    {{- $_ := set $server "tls_cert" (printf "%s/tls/tls.crt" $files) -}}
    {{- $_ := set $server "tls_key" (printf "%s/tls/tls.key" $files) -}}
  {{- end -}}
  {{- if .Values.tls.clientCA.existingSecret -}}
    {{- $_ := set $server "tls_client_ca" (printf "%s/client-ca/ca.crt" $files) -}}
  {{- end -}}
{{- else -}}
  {{- $_ := set $server "listen" (ternary "unix:/run/twinlock/twinlock.sock" "127.0.0.1:6238" (eq .Values.sidecar.address "socket")) -}}
  {{- if .Values.sidecar.exposeMetrics }}{{ $_ := set $telemetry "listen" (printf "%s:9238" .Values.listenHost) }}{{ end -}}
{{- end -}}
{{- $store := dict "kind" .Values.store.kind -}}
{{- if eq (include "twinlock.overRedis" .) "true" -}}
  {{- $settings := dict "mode" $redis.mode "urls" $redis.urls -}}
  {{- with $redis.sentinelMaster }}{{ $_ := set $settings "sentinel_master" . }}{{ end -}}
  {{- with $redis.username }}{{ $_ := set $settings "username" . }}{{ end -}}
  {{- with $redis.tlsCA.existingSecret }}{{ $_ := set $settings "tls_ca" (printf "%s/redis-ca/ca.crt" $files) }}{{ end -}}
  {{- $_ := set $store "redis" $settings -}}
{{- else -}}
  {{- $_ := set $store "path" "/var/lib/twinlock/data" -}}
{{- end -}}
{{- $keyring := dict "file" (printf "%s/keyring/keyring.toml" $files) -}}
{{- $own := dict "server" $server "telemetry" $telemetry "store" $store "keyring" $keyring -}}
# Written by the chart, from its values.
{{- include "twinlock.toml" (dict "path" "" "table" (mergeOverwrite (deepCopy .Values.config) $own)) }}
{{- end }}

{{- /* A table: first what stands in it, then the tables below it. */}}
{{- define "twinlock.toml" -}}
{{- range $key, $value := .table }}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value) (include "twinlock.toml.isTables" $value)) }}
{{ $key }} = {{ toJson $value }}
{{- end }}
{{- end }}
{{- $prefix := ternary "" (printf "%s." .path) (empty .path) }}
{{- range $key, $value := .table }}
{{- $path := printf "%s%s" $prefix $key }}
{{- if kindIs "map" $value }}
{{- if $value }}

[{{ $path }}]
{{- include "twinlock.toml" (dict "path" $path "table" $value) }}
{{- end }}
{{- else if include "twinlock.toml.isTables" $value }}
{{- range $value }}

[[{{ $path }}]]
{{- include "twinlock.toml" (dict "path" $path "table" .) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "twinlock.toml.isTables" -}}
{{- if kindIs "slice" . }}{{ if . }}{{ if kindIs "map" (first .) }}true{{ end }}{{ end }}{{ end -}}
{{- end }}
