{{- /* A pod that is a client of the service: (dict "root" . "caller" VALUES-WITH-token-AND-certificate). */}}
{{- define "twinlock.client.args" -}}
- --address
- {{ include "twinlock.address" .root }}
{{- if include "twinlock.hasTls" .root }}
- --tls-ca
- /run/secrets/twinlock/server-ca/ca.crt
{{- end }}
{{- if .caller.token.existingSecret }}
- --token-file
- /run/secrets/twinlock/token/token
{{- end }}
{{- if .caller.certificate.existingSecret }}
- --tls-cert
- /run/secrets/twinlock/certificate/tls.crt
- --tls-key
- /run/secrets/twinlock/certificate/tls.key
{{- end }}
{{- end }}

{{- define "twinlock.client.secrets" -}}
{{- $tls := .root.Values.tls -}}
{{- if include "twinlock.hasTls" .root }}
server-ca:
  name: {{ $tls.serverCA.existingSecret | default (include "twinlock.tlsSecret" .root) | quote }}
  files: { {{ $tls.serverCA.key | quote }}: ca.crt }
{{- end }}
{{- with .caller.token }}
{{- if .existingSecret }}
token:
  name: {{ .existingSecret | quote }}
  files: { {{ .key | quote }}: token }
{{- end }}
{{- end }}
{{- with .caller.certificate.existingSecret }}
certificate:
  name: {{ . | quote }}
  files: { tls.crt: tls.crt, tls.key: tls.key }
{{- end }}
{{- end }}

{{- define "twinlock.client.volumeMounts" -}}
{{- range $name, $secret := include "twinlock.client.secrets" . | fromYaml }}
- name: {{ $name | quote }}
  mountPath: /run/secrets/twinlock/{{ $name }}
  readOnly: true
{{- end }}
{{- end }}

{{- define "twinlock.client.volumes" -}}
{{- range $name, $secret := include "twinlock.client.secrets" . | fromYaml }}
- name: {{ $name | quote }}
  secret:
    secretName: {{ $secret.name | quote }}
    defaultMode: 0400
    items:
      {{- range $key, $file := $secret.files }}
      - key: {{ $key | quote }}
        path: {{ $file | quote }}
      {{- end }}
{{- end }}
{{- end }}
