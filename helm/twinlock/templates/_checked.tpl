{{- /* Refuses what cannot work, with a sentence that says what to write instead. */}}
{{- define "twinlock.checked" -}}
{{- $values := .Values -}}
{{- $config := .Values.config -}}
{{- $own := dict
  "server.listen" "mode, listenHost and sidecar.address"
  "server.insecure" "insecure"
  "server.tls_cert" "tls"
  "server.tls_key" "tls"
  "server.tls_client_ca" "tls.clientCA.existingSecret"
  "telemetry.listen" "listenHost and sidecar.exposeMetrics"
  "store.kind" "store.kind"
  "store.path" "store.embedded"
  "store.redis.mode" "store.redis.mode"
  "store.redis.urls" "store.redis.urls"
  "store.redis.sentinel_master" "store.redis.sentinelMaster"
  "store.redis.username" "store.redis.username"
  "store.redis.password" "store.redis.password.existingSecret"
  "store.redis.tls_ca" "store.redis.tlsCA.existingSecret"
  "keyring.file" "keyring.existingSecret"
  "keyring.keys" "keyring.existingSecret"
  "webhook.secret" "webhook.existingSecret"
-}}
{{- range $key, $value := $own -}}
  {{- $at := $config -}}
  {{- range splitList "." $key }}{{ $at = ternary (get (default dict $at) .) nil (kindIs "map" $at) }}{{ end -}}
  {{- if not (or (kindIs "invalid" $at) (eq (toString $at) "")) -}}
    {{- fail (printf "config.%s is not written here: set the value %s." $key $value) -}}
  {{- end -}}
{{- end -}}
{{- if not .Values.keyring.existingSecret -}}
  {{- fail "keyring.existingSecret is missing: make the keyring as docs/kubernetes.md shows, and name its Secret here." -}}
{{- end -}}
{{- if eq .Values.store.kind "redis" -}}
  {{- if not .Values.store.redis.urls -}}
    {{- fail "store.redis.urls is empty: write Redis's address, such as rediss://redis:6379, or set store.kind to embedded." -}}
  {{- end -}}
  {{- if and (eq .Values.store.redis.mode "standalone") (gt (len .Values.store.redis.urls) 1) -}}
    {{- fail "store.redis.urls has several addresses, and store.redis.mode is standalone: write one, or set the mode to sentinel or cluster." -}}
  {{- end -}}
  {{- if and (eq .Values.store.redis.mode "sentinel") (not .Values.store.redis.sentinelMaster) -}}
    {{- fail "store.redis.sentinelMaster is missing: write the name under which the sentinels know the primary." -}}
  {{- end -}}
{{- else -}}
  {{- if .Values.store.redis.urls -}}
    {{- fail "store.redis.urls is set, and store.kind is embedded: set store.kind to redis, or leave the addresses out." -}}
  {{- end -}}
  {{- if and (not (kindIs "invalid" .Values.replicaCount)) (gt (int .Values.replicaCount) 1) -}}
    {{- fail "replicaCount is more than 1, and the embedded store is one process's alone: set store.kind to redis, or replicaCount to 1." -}}
  {{- end -}}
  {{- if .Values.autoscaling.enabled -}}
    {{- fail "autoscaling.enabled needs store.kind redis: the embedded store is one process's alone." -}}
  {{- end -}}
{{- end -}}
{{- if and (eq (dig "login" "mode" "" $config) "legacy") (not .Values.acknowledgeLegacyMode) -}}
  {{- fail "config.login.mode is legacy, so that nobody is asked for a second factor: set acknowledgeLegacyMode to true if that is meant." -}}
{{- end -}}
{{- range .Values.extraEnv -}}
  {{- if and (eq .name "TWINLOCK_LOGIN__MODE") (not $values.acknowledgeLegacyMode) -}}
    {{- fail "extraEnv sets TWINLOCK_LOGIN__MODE: write config.login.mode, or set acknowledgeLegacyMode to true." -}}
  {{- end -}}
{{- end -}}
{{- $limit := toString (dig "limits" "memory" "" .Values.resources) -}}
{{- $kib := 0 -}}
{{- range $unit, $factor := dict "Mi" 1024 "Gi" 1048576 -}}
  {{- if regexMatch (printf "^[0-9]+%s$" $unit) $limit }}{{ $kib = mul (trimSuffix $unit $limit | int) $factor }}{{ end -}}
{{- end -}}
{{- $hashing := mul (dig "argon2" "memory_kib" 19456 $config) (dig "argon2" "concurrency" 0 $config) -}}
{{- if and $kib (gt (add $hashing 65536) $kib) -}}
  {{- fail "resources.limits.memory is less than config.argon2.concurrency times config.argon2.memory_kib and 64 MiB for the rest: raise it, or hash fewer passwords at a time." -}}
{{- end -}}
{{- if and (dig "webhook" "url" "" $config) (not .Values.webhook.existingSecret) -}}
  {{- fail "webhook.existingSecret is missing: config.webhook.url needs the key that signs its events." -}}
{{- end -}}
{{- if and .Values.externalSecrets.secrets (not .Values.externalSecrets.secretStoreRef.name) -}}
  {{- fail "externalSecrets.secretStoreRef.name is missing: write the store that the secrets are read from." -}}
{{- end -}}
{{- if and .Values.initialize .Values.restore.file -}}
  {{- fail "initialize and restore.file are both set: a backup brings its dataset along, so leave initialize out." -}}
{{- end -}}
{{- if eq .Values.mode "service" -}}
  {{- include "twinlock.checked.service" . -}}
{{- else -}}
  {{- include "twinlock.checked.sidecar" . -}}
{{- end -}}
{{- end }}

{{- define "twinlock.checked.service" -}}
{{- if regexMatch "^[0-9]" (include "twinlock.fullname" .) -}}
  {{- fail "fullnameOverride is missing: the release's name begins with a digit, and a Service's must begin with a letter." -}}
{{- end -}}
{{- if not .Values.insecure -}}
  {{- if not (include "twinlock.hasTls" .) -}}
    {{- fail "tls.existingSecret is missing: name the Secret with the server's certificate, set tls.certManager.enabled, or insecure where a service mesh encrypts and authenticates." -}}
  {{- end -}}
  {{- if not .Values.config.caller -}}
    {{- fail "config.caller is empty, so that nobody may call: write callers as docs/callers.md has them, or set insecure where a service mesh authenticates." -}}
  {{- end -}}
{{- end -}}
{{- if .Values.tls.clientCA.existingSecret -}}
  {{- if not (include "twinlock.hasTls" .) -}}
    {{- fail "tls.clientCA.existingSecret needs tls.existingSecret or tls.certManager.enabled: callers show certificates over TLS alone." -}}
  {{- end -}}
{{- end -}}
{{- with .Values.tls.certManager -}}
  {{- if and .enabled (not .issuerRef.name) -}}
    {{- fail "tls.certManager.issuerRef.name is missing: write the issuer of the certificates." -}}
  {{- end -}}
  {{- if and .clients (not .enabled) -}}
    {{- fail "tls.certManager.clients needs tls.certManager.enabled." -}}
  {{- end -}}
  {{- if and .enabled $.Values.tls.existingSecret -}}
    {{- fail "tls.existingSecret and tls.certManager.enabled are both set: cert-manager makes a Secret of its own, so choose one." -}}
  {{- end -}}
{{- end -}}
{{- if le (int .Values.terminationGracePeriodSeconds) (int .Values.preStopSeconds) -}}
  {{- fail "terminationGracePeriodSeconds must be longer than preStopSeconds, by more than config.server.deadline." -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
  {{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas." -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (not (kindIs "invalid" .Values.replicaCount)) -}}
  {{- fail "replicaCount and autoscaling.enabled are both set: write autoscaling.minReplicas instead." -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled .Values.networkPolicy.enabled (not .Values.networkPolicy.metrics) -}}
  {{- fail "serviceMonitor.enabled needs networkPolicy.metrics: say where Prometheus is, or it is kept out." -}}
{{- end -}}
{{- if .Values.backup.enabled -}}
  {{- if not .Values.backup.existingClaim -}}
    {{- fail "backup.existingClaim is missing: name the volume claim that takes the backups." -}}
  {{- end -}}
  {{- if not (or .Values.insecure .Values.backup.token.existingSecret .Values.backup.certificate.existingSecret) -}}
    {{- fail "backup.token.existingSecret is missing: name the Secret with the token of a caller with the role operator." -}}
  {{- end -}}
{{- end -}}
{{- if and .Values.restore.file (not .Values.backup.existingClaim) -}}
  {{- fail "backup.existingClaim is missing: name the volume claim that has the backup of restore.file." -}}
{{- end -}}
{{- if .Values.networkPolicy.enabled -}}
  {{- if and (dig "webhook" "url" "" .Values.config) (not .Values.networkPolicy.extraEgress) -}}
    {{- fail "networkPolicy.extraEgress is empty: write the rule that lets events out to config.webhook.url." -}}
  {{- end -}}
  {{- if and (dig "telemetry" "otlp_endpoint" "" .Values.config) (not .Values.networkPolicy.extraEgress) -}}
    {{- fail "networkPolicy.extraEgress is empty: write the rule that lets traces out to config.telemetry.otlp_endpoint." -}}
  {{- end -}}
{{- end -}}
{{- if and .Values.smokeTest.enabled (not (or .Values.insecure .Values.smokeTest.token.existingSecret .Values.smokeTest.certificate.existingSecret)) -}}
  {{- fail "smokeTest.token.existingSecret is missing: name the Secret with the token of a caller with the role product, or set smokeTest.enabled to false." -}}
{{- end -}}
{{- end }}

{{- define "twinlock.checked.sidecar" -}}
{{- if or .Values.tls.existingSecret .Values.tls.certManager.enabled .Values.tls.clientCA.existingSecret -}}
  {{- fail "tls is for mode service: a sidecar is reached within its pod alone." -}}
{{- end -}}
{{- if .Values.insecure -}}
  {{- fail "insecure is for mode service: a sidecar is reached within its pod alone." -}}
{{- end -}}
{{- if .Values.autoscaling.enabled -}}
  {{- fail "autoscaling is for mode service: a sidecar is as many as its application." -}}
{{- end -}}
{{- if .Values.serviceMonitor.enabled -}}
  {{- fail "serviceMonitor is for mode service: set sidecar.exposeMetrics, and write a PodMonitor for the application." -}}
{{- end -}}
{{- if .Values.backup.enabled -}}
  {{- fail "backup is for mode service: run `twinlock backup` beside the application, or install the chart once more in mode service over the same Redis." -}}
{{- end -}}
{{- if .Values.restore.file -}}
  {{- fail "restore is for mode service: stop the application, and install the chart once more in mode service over the same Redis." -}}
{{- end -}}
{{- if eq .Values.store.kind "embedded" -}}
  {{- if not .Values.acknowledgeSingleReplica -}}
    {{- fail "store.kind is embedded in mode sidecar: a second pod of the application would have users of its own. Set store.kind to redis, or acknowledgeSingleReplica to true if there is never a second one." -}}
  {{- end -}}
  {{- if not .Values.store.embedded.existingClaim -}}
    {{- fail "store.embedded.existingClaim is missing: a sidecar keeps its records on a volume of the application's." -}}
  {{- end -}}
{{- end -}}
{{- end }}
