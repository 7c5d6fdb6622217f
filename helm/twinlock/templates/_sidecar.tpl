{{- /*
What an application's pod takes up, as YAML: `podAnnotations`, `securityContext` (of the pod), `initContainers` and
`containers` (one of them has the sidecar), `volumes`, and for the application's own container `env` and
`volumeMounts`. With this chart as a dependency of the application's:

    {{- $twinlock := include "twinlock.sidecar" .Subcharts.twinlock | fromYaml }}
*/}}
{{- define "twinlock.sidecar" -}}
{{- if ne .Values.mode "sidecar" -}}
  {{- fail "twinlock.sidecar needs mode sidecar." -}}
{{- end -}}
{{- if .Values.initialize -}}
  {{- fail "initialize is true, and an application may not run while its dataset is made: install this chart once by itself, as docs/kubernetes.md shows." -}}
{{- end -}}
{{- $native := .Values.sidecar.native -}}
podAnnotations:
  twinlock/config-checksum: {{ include "twinlock.config" . | sha256sum | quote }}
securityContext:
  fsGroup: {{ dig "fsGroup" 65532 .Values.podSecurityContext }}
  fsGroupChangePolicy: OnRootMismatch
initContainers:
  {{- if $native }}
  {{- include "twinlock.sidecar.container" . | nindent 2 }}
  {{- else }} []
  {{- end }}
containers:
  {{- if not $native }}
  {{- include "twinlock.sidecar.container" . | nindent 2 }}
  {{- else }} []
  {{- end }}
volumes:
  {{- include "twinlock.volumes" . | nindent 2 }}
env:
  - name: TWINLOCK_ADDRESS
    value: {{ include "twinlock.sidecar.address" . | quote }}
volumeMounts:
  {{- if include "twinlock.hasSocket" . }}
  - name: twinlock-socket
    mountPath: /run/twinlock
  {{- else }} []
  {{- end }}
{{- end }}

{{- define "twinlock.sidecar.address" -}}
{{ ternary "unix:/run/twinlock/twinlock.sock" "http://127.0.0.1:6238" (eq .Values.sidecar.address "socket") }}
{{- end }}

{{- define "twinlock.sidecar.container" -}}
- name: twinlock
  {{- include "twinlock.sidecar.image" . | nindent 2 }}
  args: [serve, --config, /etc/twinlock/twinlock.toml]
  {{- if .Values.sidecar.native }}
  restartPolicy: Always
  {{- end }}
  {{- with include "twinlock.env" . }}
  env:
    {{- . | nindent 4 }}
  {{- end }}
  {{- if .Values.sidecar.exposeMetrics }}
  ports:
    - name: twinlock-metrics
      containerPort: 9238
  {{- end }}
  {{- $health := list "/twinlock" "health" "--address" (include "twinlock.sidecar.address" .) }}
  {{- with .Values.probes }}
  startupProbe:
    exec:
      command: {{ toJson $health }}
    timeoutSeconds: {{ .liveness.timeoutSeconds }}
    {{- toYaml .startup | nindent 4 }}
  {{- /* No readiness probe: the application itself answers while the store is away. Nor does a restart mend the
  store, so that liveness asks whether the process answers at all. */}}
  livenessProbe:
    exec:
      command: {{ toJson (append $health "--live") }}
    {{- toYaml .liveness | nindent 4 }}
  {{- end }}
  {{- if and .Values.preStopSeconds (not .Values.sidecar.native) }}
  lifecycle:
    preStop:
      sleep:
        seconds: {{ .Values.preStopSeconds }}
  {{- end }}
  resources:
    {{- toYaml .Values.resources | nindent 4 }}
  volumeMounts:
    {{- include "twinlock.volumeMounts" . | nindent 4 }}
{{- end }}

{{- /* The application's pod has a security context of its own, so that the user is the container's. */}}
{{- define "twinlock.sidecar.image" -}}
image: {{ include "twinlock.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy | quote }}
command: [/twinlock]
securityContext:
  {{- toYaml (mergeOverwrite (pick .Values.podSecurityContext "runAsNonRoot" "runAsUser" "runAsGroup" "seccompProfile" | deepCopy) .Values.securityContext) | nindent 2 }}
{{- end }}
