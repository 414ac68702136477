{{/* Names, labels and what the preset adds. */}}

{{- define "veni.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "veni.fullname" -}}
{{ default .Release.Name .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "veni.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "veni.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ required "serviceAccount.name: name the service account that is there, or set serviceAccount.create to true" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* What selects the pods; a DaemonSet's never changes. */}}
{{- define "veni.selector" -}}
app.kubernetes.io/name: {{ include "veni.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "veni.labels" -}}
{{ include "veni.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{/* What the pods of the daemon and of an uninstallation have in common: both run on the same nodes. */}}
{{- define "veni.pod" -}}
priorityClassName: {{ .Values.priorityClassName }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity | default (include "veni.preset" . | fromYaml).affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "veni.image" -}}
{{- $image := .Values.image -}}
{{- $tag := default .Chart.AppVersion $image.tag -}}
{{- if $image.override -}}
{{ $image.override }}
{{- else if $image.account -}}
{{- $region := required "image.region: name the region of image.account's registry" $image.region -}}
{{ printf "%s.dkr.%s.%s.%s/veni:%s" (toString $image.account) $image.endpoint $region $image.domain $tag }}
{{- else -}}
{{ printf "%s:%s" $image.overrideRepository $tag }}
{{- end }}
{{- end }}

{{- define "veni.preset" -}}
{{- $text := .Files.Get (printf "presets/%s.yaml" .Values.preset) -}}
{{- $text | required (printf "preset %q: choose eks, aks or mock" .Values.preset) -}}
{{- end }}

{{/* The daemon's settings: the preset's, over them init.env, over them env. */}}
{{- define "veni.settings" -}}
{{- $preset := include "veni.preset" . | fromYaml -}}
{{- $own := dict "VENI_HEALTH_ADDRESS" (printf "[::]:%d" (int .Values.healthPort)) -}}
{{- if ne (int .Values.metricsPort) 61678 -}}
{{- $_ := set $own "VENI_METRICS_ADDRESS" (printf "[::]:%d" (int .Values.metricsPort)) -}}
{{- end -}}
{{- if .Values.hostChecks.enabled -}}
{{- $_ := set $own "VENI_HOST_ROOT" "/host/root" -}}
{{- end -}}
{{- $kept := dict -}}
{{- range $from := list $own $preset.env (.Values.init.env | default dict) .Values.env -}}
{{- range $name, $value := $from -}}
{{- $_ := set $kept $name $value -}}
{{- end -}}
{{- end -}}
{{- range $name, $value := $kept -}}
{{- if not (kindIs "invalid" $value) }}
{{- /* A number of a values file is a float, which prints 1000000 as 1e+06. One that is not whole stays as it is, for the daemon to judge. */}}
{{- $whole := and (kindIs "float64" $value) (eq (toString $value) (int64 $value | float64 | toString)) }}
{{ $name }}: {{ ternary (int64 $value | toString) (toString $value) $whole | quote }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The folder below /var/log of the host that a log file of the daemon is in, if any. */}}
{{- define "veni.logFolder" -}}
{{- $file := get (include "veni.settings" . | fromYaml) "AWS_VPC_K8S_CNI_LOG_FILE" | default "" -}}
{{- if hasPrefix "/host/var/log/" $file -}}
{{ dir (trimPrefix "/host" $file) }}
{{- end }}
{{- end }}

{{/* Whether eBPF programs judge pods' packets. */}}
{{- define "veni.enforces" -}}
{{- if eq (get (include "veni.settings" . | fromYaml) "VENI_ENFORCEMENT") "ebpf" }}true{{ end -}}
{{- end }}

{{/* Whether they judge by the cluster's NetworkPolicies. */}}
{{- define "veni.polices" -}}
{{- $settings := include "veni.settings" . | fromYaml -}}
{{- $mode := get $settings "NETWORK_POLICY_ENFORCING_MODE" -}}
{{- if and (include "veni.enforces" .) (has $mode (list "standard" "strict")) }}true{{ end -}}
{{- end }}
