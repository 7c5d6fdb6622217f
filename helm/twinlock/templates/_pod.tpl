{{- /* What every pod of the chart has in common. */}}
{{- define "twinlock.pod" -}}
serviceAccountName: {{ include "twinlock.serviceAccount" . | quote }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "twinlock.podAnnotations" -}}
twinlock/config-checksum: {{ include "twinlock.config" . | sha256sum | quote }}
{{- with .Values.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* The labels of a pod: (dict "root" . "component" NAME). */}}
{{- define "twinlock.podLabels" -}}
{{- $own := include "twinlock.selectorLabels" .root | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/component" .component -}}
{{- toYaml (merge $own .root.Values.podLabels .root.Values.commonLabels) -}}
{{- end }}

{{- define "twinlock.containerOfTheImage" -}}
image: {{ include "twinlock.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy | quote }}
command: [/twinlock]
{{- with .Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* What a container needs that reads the configuration. */}}
{{- define "twinlock.env" -}}
{{- if and (include "twinlock.overRedis" .) .Values.store.redis.password.existingSecret }}
- name: TWINLOCK_STORE__REDIS__PASSWORD_FILE
  value: /run/secrets/twinlock/redis-password/password
{{- end }}
{{- if .Values.webhook.existingSecret }}
- name: TWINLOCK_WEBHOOK__SECRET_FILE
  value: /run/secrets/twinlock/webhook/secret
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "twinlock.volumeMounts" -}}
- name: twinlock-config
  mountPath: /etc/twinlock
  readOnly: true
{{- range $name, $secret := include "twinlock.secrets" . | fromYaml }}
- name: twinlock-{{ $name }}
  mountPath: /run/secrets/twinlock/{{ $name }}
  readOnly: true
{{- end }}
{{- if not (include "twinlock.overRedis" .) }}
- name: twinlock-data
  mountPath: /var/lib/twinlock
{{- end }}
{{- if include "twinlock.hasSocket" . }}
- name: twinlock-socket
  mountPath: /run/twinlock
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "twinlock.volumes" -}}
- name: twinlock-config
  configMap:
    name: {{ include "twinlock.fullname" . | quote }}
{{- range $name, $secret := include "twinlock.secrets" . | fromYaml }}
- name: twinlock-{{ $name }}
  secret:
    secretName: {{ $secret.name | quote }}
    defaultMode: 0400
    items:
      {{- range $key, $file := $secret.files }}
      - key: {{ $key | quote }}
        path: {{ $file | quote }}
      {{- end }}
{{- end }}
{{- if not (include "twinlock.overRedis" .) }}
- name: twinlock-data
  persistentVolumeClaim:
    claimName: {{ include "twinlock.claim" . | quote }}
{{- end }}
{{- if include "twinlock.hasSocket" . }}
- name: twinlock-socket
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "twinlock.hasSocket" -}}
{{- if and (eq .Values.mode "sidecar") (eq .Values.sidecar.address "socket") }}true{{ end -}}
{{- end }}

{{- /* The secrets that the server reads: where each is mounted, its name, and the files of its keys. */}}
{{- define "twinlock.secrets" -}}
keyring:
  name: {{ .Values.keyring.existingSecret | quote }}
  files: { {{ .Values.keyring.key | quote }}: keyring.toml }
{{- if include "twinlock.overRedis" . }}
{{- with .Values.store.redis.password }}
{{- if .existingSecret }}
redis-password:
  name: {{ .existingSecret | quote }}
  files: { {{ .key | quote }}: password }
{{- end }}
{{- end }}
{{- with .Values.store.redis.tlsCA }}
{{- if .existingSecret }}
redis-ca:
  name: {{ .existingSecret | quote }}
  files: { {{ .key | quote }}: ca.crt }
{{- end }}
{{- end }}
{{- end }}
{{- if include "twinlock.hasTls" . }}
tls:
  name: {{ include "twinlock.tlsSecret" . | quote }}
  files: { tls.crt: tls.crt, tls.key: tls.key }
{{- end }}
{{- with .Values.tls.clientCA }}
{{- if .existingSecret }}
client-ca:
  name: {{ .existingSecret | quote }}
  files: { {{ .key | quote }}: ca.crt }
{{- end }}
{{- end }}
{{- with .Values.webhook }}
{{- if .existingSecret }}
webhook:
  name: {{ .existingSecret | quote }}
  files: { {{ .key | quote }}: secret }
{{- end }}
{{- end }}
{{- end }}

{{- /* The pod of the service, which a Deployment or a StatefulSet makes. */}}
{{- define "twinlock.server" -}}
metadata:
  labels:
    {{- include "twinlock.podLabels" (dict "root" . "component" "server") | nindent 4 }}
  annotations:
    {{- include "twinlock.podAnnotations" . | nindent 4 }}
spec:
  {{- include "twinlock.pod" . | nindent 2 }}
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if include "twinlock.overRedis" . }}
  topologySpreadConstraints:
    {{- if .Values.topologySpreadConstraints }}
    {{- toYaml .Values.topologySpreadConstraints | nindent 4 }}
    {{- else }}
    {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - topologyKey: {{ . | quote }}
      maxSkew: 1
      whenUnsatisfiable: ScheduleAnyway
      matchLabelKeys: [pod-template-hash]
      labelSelector:
        matchLabels:
          {{- include "twinlock.serverLabels" $ | nindent 10 }}
    {{- end }}
    {{- end }}
  {{- end }}
  containers:
    - name: twinlock
      {{- include "twinlock.containerOfTheImage" . | nindent 6 }}
      args: [serve, --config, /etc/twinlock/twinlock.toml]
      {{- with include "twinlock.env" . }}
      env:
        {{- . | nindent 8 }}
      {{- end }}
      ports:
        - name: grpc
          containerPort: 6238
        - name: metrics
          containerPort: 9238
      {{- with .Values.probes }}
      startupProbe:
        httpGet: { path: /livez, port: metrics }
        {{- toYaml .startup | nindent 8 }}
      livenessProbe:
        httpGet: { path: /livez, port: metrics }
        {{- toYaml .liveness | nindent 8 }}
      readinessProbe:
        httpGet: { path: {{ .readiness.path }}, port: metrics }
        {{- toYaml (omit .readiness "path") | nindent 8 }}
      {{- end }}
      {{- if .Values.preStopSeconds }}
      lifecycle:
        preStop:
          sleep:
            seconds: {{ .Values.preStopSeconds }}
      {{- end }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts:
        {{- include "twinlock.volumeMounts" . | nindent 8 }}
  volumes:
    {{- include "twinlock.volumes" . | nindent 4 }}
{{- end }}
