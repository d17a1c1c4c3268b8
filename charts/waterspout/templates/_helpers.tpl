{{/* The names of objects begin with it; a suffix of at most 16 characters fits. */}}
{{- define "waterspout.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "waterspout.operator" -}}
{{ include "waterspout.fullname" . }}-operator
{{- end -}}

{{/* The ClusterRole that the operator binds for the workers of each topology. */}}
{{- define "waterspout.workerRole" -}}
{{ include "waterspout.fullname" . }}-worker
{{- end -}}

{{/* The Secret with the authority for certificates of workers. */}}
{{- define "waterspout.authority" -}}
{{ include "waterspout.fullname" . }}-authority
{{- end -}}

{{/* By these the operator's pod is known; those of workers have another component. */}}
{{- define "waterspout.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "waterspout.labels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* An image by digest, or else by tag. Takes a list: the image's values, the tag if there is none. */}}
{{- define "waterspout.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default (index . 1) $image.tag }}
{{- end -}}
{{- end -}}
