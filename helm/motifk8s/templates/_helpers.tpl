{{- /* Rules that involve several values, which the schema cannot express. */ -}}
{{- define "motifk8s.validate" -}}
{{- with .Values -}}
{{- if not .store.url }}{{ fail "store.url is not set: give the place for results with --set store.url=s3://BUCKET/PREFIX" }}{{ end -}}
{{- if and .store.sseKmsKey (not (hasPrefix "aws:kms" .store.sse)) }}{{ fail "store.sseKmsKey is for store.sse=aws:kms or aws:kms:dsse; set store.sse to one of them, or remove store.sseKmsKey" }}{{ end -}}
{{- if and .s3.enabled (not .store.secretName) }}{{ fail "store.secretName is not set: s3.enabled needs a Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; create it and set store.secretName to its name" }}{{ end -}}
{{- if and .s3.enabled .store.endpoint }}{{ fail "store.endpoint and s3.enabled exclude each other: s3.enabled sets the endpoint itself; remove one of them" }}{{ end -}}
{{- end -}}
{{- $known := concat (list "main") (include "motifk8s.argoContainers" . | fromYaml).names -}}
{{- range $kind := list "initContainers" "containers" -}}
{{- range index ($.Values.podSpecPatch | default dict) $kind -}}
{{- if not (or .image (has .name $known)) }}{{ fail (printf "podSpecPatch.%s: a pod has no container %s, and this one has no image; pods have %s (with executor.initlessPod=%t)" $kind .name (join ", " $known) $.Values.executor.initlessPod) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "motifk8s.labels" -}}
app.kubernetes.io/name: motifk8s
app.kubernetes.io/part-of: motifk8s
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- /* Labels of the pods of a step. Labels that users add cannot replace these. (root, step) */ -}}
{{- define "motifk8s.podLabels" -}}
{{- $ours := dict "app.kubernetes.io/part-of" "motifk8s" "motifk8s/step" .step -}}
{{- if eq .step "cell" -}}
{{- /* A label has at most 63 characters and no slash. */ -}}
{{- $_ := set $ours "motifk8s/cell" "{{=len(inputs.parameters.cell) > 63 ? '' : replace(inputs.parameters.cell, '/', '.')}}" -}}
{{- with .root.Values.queue }}{{ $_ := set $ours "kueue.x-k8s.io/queue-name" . }}{{ end -}}
{{- end -}}
{{- toYaml (merge $ours .root.Values.podLabels) -}}
{{- end -}}

{{- define "motifk8s.podAnnotations" -}}
{{- $ours := dict -}}
{{- if and (eq .step "cell") .root.Values.cell.noEvict -}}
{{- $ours = dict "cluster-autoscaler.kubernetes.io/safe-to-evict" "false" "karpenter.sh/do-not-disrupt" "true" -}}
{{- end -}}
{{- with merge $ours .root.Values.podAnnotations }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{- /* The image of a step. (root, step) */ -}}
{{- define "motifk8s.image" -}}
{{- $cpu := .root.Values.image -}}
{{- $tag := $cpu.tag | default .root.Chart.AppVersion -}}
{{- $repository := $cpu.repository -}}
{{- $digest := $cpu.digest -}}
{{- if and (eq .step "cell") .root.Values.gpu.count -}}
{{- with .root.Values.gpuImage -}}
{{- $repository = .repository | default $repository -}}
{{- $tag = .tag | default (printf "%s-gpu" $tag) -}}
{{- $digest = .digest -}}
{{- end -}}
{{- end -}}
{{- $repository }}{{ if $digest }}@{{ $digest }}{{ else }}:{{ $tag }}{{ end -}}
{{- end -}}

{{- define "motifk8s.endpoint" -}}
{{- if .Values.s3.enabled }}http://motifk8s-s3.{{ .Release.Namespace }}.svc:7070{{ else }}{{ .Values.store.endpoint }}{{ end -}}
{{- end -}}

{{- define "motifk8s.bucket" -}}
{{- (splitList "/" (trimPrefix "s3://" .Values.store.url)) | first -}}
{{- end -}}

{{- define "motifk8s.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- /* The environment of every container of motifk8s. (root, step) */ -}}
{{- define "motifk8s.env" -}}
{{- $v := .root.Values -}}
- {name: MOTIFK8S_STORE, value: {{ $v.store.url | quote }}}
- {name: AWS_REGION, value: {{ $v.store.region | quote }}}
{{- with include "motifk8s.endpoint" .root }}
- {name: AWS_ENDPOINT_URL, value: {{ . | quote }}}
{{- end }}
{{- with $v.store.secretName }}
- {name: AWS_ACCESS_KEY_ID, valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: AWS_ACCESS_KEY_ID}}}
- {name: AWS_SECRET_ACCESS_KEY, valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: AWS_SECRET_ACCESS_KEY}}}
- {name: AWS_SESSION_TOKEN, valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: AWS_SESSION_TOKEN, optional: true}}}
{{- end }}
{{- with $v.store.sse }}
- {name: MOTIFK8S_SSE, value: {{ . | quote }}}
{{- end }}
{{- with $v.store.sseKmsKey }}
- {name: MOTIFK8S_SSE_KMS_KEY, value: {{ . | quote }}}
{{- end }}
{{- if $v.ca.configMap }}
- {name: AWS_CA_BUNDLE, value: /etc/motifk8s/ca.crt}
- {name: SSL_CERT_FILE, value: /etc/motifk8s/ca.crt}
{{- end }}
{{- with $v.proxy }}
{{- with .https }}
- {name: HTTPS_PROXY, value: {{ . | quote }}}
{{- end }}
{{- with .http }}
- {name: HTTP_PROXY, value: {{ . | quote }}}
{{- end }}
{{- if or .https .http .noProxy }}
- {name: NO_PROXY, value: {{ list .noProxy "localhost,127.0.0.1,.svc,.cluster.local" | compact | join "," | quote }}}
{{- end }}
{{- end }}
- {name: MOTIFK8S_IMAGE, value: {{ include "motifk8s.image" . | quote }}}
- {name: MOTIFK8S_NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
- {name: MOTIFK8S_POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
{{- with $v.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* An emptyDir on the node's disk that is at most as large as its container's limit. */ -}}
{{- define "motifk8s.emptyDir" -}}
emptyDir: {{ with index (.limits | default dict) "ephemeral-storage" }}{sizeLimit: {{ . | quote }}}{{ else }}{}{{ end }}
{{- end -}}

{{- /* The root filesystem is read-only, so programs write to /tmp only. (root, step) */ -}}
{{- define "motifk8s.volumes" -}}
{{- $v := .root.Values -}}
- name: tmp
  {{ include "motifk8s.emptyDir" (include "motifk8s.resources" . | fromYaml) }}
{{- with $v.ca.configMap }}
- {name: ca, configMap: {name: {{ . | quote }}, items: [{key: {{ $v.ca.key | quote }}, path: ca.crt}]}}
{{- end }}
{{- if and (eq .step "cell") $v.cell.shm }}
- {name: dshm, emptyDir: {medium: Memory, sizeLimit: {{ $v.cell.shm | quote }}}}
{{- end }}
{{- end -}}

{{- define "motifk8s.volumeMounts" -}}
{{- $v := .root.Values -}}
- {name: tmp, mountPath: /tmp}
{{- if $v.ca.configMap }}
- {name: ca, mountPath: /etc/motifk8s, readOnly: true}
{{- end }}
{{- if and (eq .step "cell") $v.cell.shm }}
- {name: dshm, mountPath: /dev/shm}
{{- end }}
{{- end -}}

{{- /* The resources of a step's container; the check takes those of the plan. (root, step) */ -}}
{{- define "motifk8s.resources" -}}
{{- $v := .root.Values -}}
{{- $resources := deepCopy (index $v (eq .step "check" | ternary "plan" .step)).resources -}}
{{- if and (eq .step "cell") $v.gpu.count -}}
{{- $_ := set $resources "limits" (merge (dict $v.gpu.resource ($v.gpu.count | int)) ($resources.limits | default dict)) -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{- define "motifk8s.metadata" -}}
labels:
  {{- include "motifk8s.podLabels" . | nindent 2 }}
{{- with include "motifk8s.podAnnotations" . }}
annotations:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* What every step has: metadata, retries, deadline, volumes. (root, step) */ -}}
{{- define "motifk8s.step" -}}
metadata:
  {{- include "motifk8s.metadata" . | nindent 2 }}
retryStrategy:
  {{- include "motifk8s.retry" .root | nindent 2 }}
{{- with (index .root.Values .step).activeDeadlineSeconds }}
activeDeadlineSeconds: {{ . | int }}
{{- end }}
volumes:
  {{- include "motifk8s.volumes" . | nindent 2 }}
{{- end -}}

{{- /* The container of a step, without its command and arguments. (root, step) */ -}}
{{- define "motifk8s.container" -}}
{{- $v := .root.Values -}}
image: {{ include "motifk8s.image" . | quote }}
imagePullPolicy: {{ $v.image.pullPolicy }}
terminationMessagePolicy: FallbackToLogsOnError  # Argo then shows the last line of the log
securityContext:
  {{- include "motifk8s.securityContext" . | nindent 2 }}
resources:
  {{- include "motifk8s.resources" . | nindent 2 }}
env:
  {{- include "motifk8s.env" . | nindent 2 }}
  - {name: MOTIFK8S_WORKFLOW, value: "{{ `{{workflow.name}}` }}"}
  - {name: MOTIFK8S_ATTEMPT, value: "{{ `{{retries}}` }}"}
  {{- if eq .step "prepare" }}
  {{- with $v.deepsea }}
  - {name: MOTIFK8S_DEEPSEA, value: {{ . | quote }}}
  {{- end }}
  {{- with $v.deepseaSha256 }}
  - {name: MOTIFK8S_DEEPSEA_HASH, value: {{ . | quote }}}
  {{- end }}
  {{- end }}
  {{- if eq .step "cell" }}
  {{- if and $v.gpu.required $v.gpu.count }}
  - {name: MOTIFK8S_GPUS, value: {{ $v.gpu.count | int | quote }}}
  {{- end }}
  - {name: MOTIFK8S_CHECKPOINT_SECONDS, value: {{ $v.checkpointSeconds | int | quote }}}
  - {name: MOTIFK8S_SPOT, value: {{ if kindIs "bool" $v.spot }}"{{ $v.spot }}"{{ else }}""{{ end }}}
  {{- end }}
volumeMounts:
  {{- include "motifk8s.volumeMounts" . | nindent 2 }}
{{- end -}}

{{- /* The names of Argo's own containers: names, and by field of the pod. */ -}}
{{- define "motifk8s.argoContainers" -}}
{{- if .Values.executor.initlessPod -}}
{names: [supervisor], initContainers: [], containers: [supervisor]}
{{- else -}}
{names: [init, wait], initContainers: [init], containers: [wait]}
{{- end -}}
{{- end -}}

{{- /*
The patch of the pods: that of the user, in which Argo's containers keep the restricted security
context except for the keys that the user sets. Argo merges lists of containers by name, Helm does
not.
*/ -}}
{{- define "motifk8s.podSpecPatch" -}}
{{- $patch := deepCopy (.Values.podSpecPatch | default dict) -}}
{{- range $kind, $names := omit (include "motifk8s.argoContainers" . | fromYaml) "names" -}}
{{- $containers := list -}}
{{- range $name := $names -}}
{{- $container := dict "name" $name -}}
{{- range index $patch $kind }}{{ if eq .name $name }}{{ $container = . }}{{ end }}{{ end -}}
{{- $context := include "motifk8s.withContext" (dict "base" (include "motifk8s.securityContext" $) "own" $container.securityContext) | fromYaml -}}
{{- $containers = append $containers (set $container "securityContext" $context) -}}
{{- end -}}
{{- range index $patch $kind }}{{ if not (has .name $names) }}{{ $containers = append $containers . }}{{ end }}{{ end -}}
{{- with $containers }}{{ $_ := set $patch $kind . }}{{ end -}}
{{- end -}}
{{- toYaml $patch -}}
{{- end -}}

{{- /* A security context: the keys of `base` (YAML) that `own` does not set, and those of `own`. */ -}}
{{- define "motifk8s.withContext" -}}
{{- $context := .base | fromYaml -}}
{{- range $key, $value := .own -}}
{{- if kindIs "map" $value }}{{ $value = merge (dict) $value (get $context $key | default dict) }}{{ end -}}
{{- $_ := set $context $key $value -}}
{{- end -}}
{{- toYaml $context -}}
{{- end -}}

{{- /* What the values take from the restricted Pod Security Standard and the read-only root, a line each. */ -}}
{{- define "motifk8s.weaker" -}}
{{- $patch := .Values.podSpecPatch | default dict -}}
{{- if kindIs "invalid" .Values.podSpecPatch }}
  podSpecPatch is null: Argo's controller must restrict its containers itself
{{- end -}}
{{- if regexMatch "[$](patch|retainKeys|deleteFromPrimitiveList)" (toJson $patch) }}
  podSpecPatch: a directive such as $patch can remove any restriction
{{- end -}}
{{- range $key := list "hostNetwork" "hostPID" "hostIPC" }}{{ if index $patch $key }}
  podSpecPatch.{{ $key }}: true
{{- end }}{{ end -}}
{{- range $patch.volumes }}{{ range $key := keys (omit . "name") | sortAlpha -}}
{{- if not (has $key (list "configMap" "csi" "downwardAPI" "emptyDir" "ephemeral" "persistentVolumeClaim" "projected" "secret")) }}
  podSpecPatch.volumes: {{ $key }}
{{- end }}{{ end }}{{ end -}}
{{- range $where, $context := dict "podSecurityContext" .Values.podSecurityContext "podSpecPatch.securityContext" $patch.securityContext -}}
{{- include "motifk8s.weakerContext" (dict "where" $where "context" ($context | default dict)) -}}
{{- end -}}
{{- $argo := (include "motifk8s.argoContainers" . | fromYaml).names -}}
{{- range $kind := list "initContainers" "containers" "ephemeralContainers" -}}
{{- range index $patch $kind -}}
{{- $base := has .name (append $argo "main") | ternary (include "motifk8s.securityContext" $) "" -}}
{{- $context := include "motifk8s.withContext" (dict "base" $base "own" .securityContext) | fromYaml -}}
{{- $where := printf "podSpecPatch.%s: %s" $kind .name -}}
{{- /* null deletes the context of a container, except that of Argo's, which the chart adds again. */ -}}
{{- if and (hasKey . "securityContext") (kindIs "invalid" .securityContext) (not (has .name $argo)) }}{{ $context = dict }}{{ end -}}
{{- include "motifk8s.weakerContext" (dict "where" $where "context" $context) -}}
{{- if ne (toString $context.allowPrivilegeEscalation) "false" }}
  {{ $where }}: allowPrivilegeEscalation
{{- end -}}
{{- if ne (toString $context.readOnlyRootFilesystem) "true" }}
  {{ $where }}: readOnlyRootFilesystem
{{- end -}}
{{- if not (has "ALL" (($context.capabilities | default dict).drop | default list)) }}
  {{ $where }}: capabilities.drop
{{- end -}}
{{- range .ports }}{{ if .hostPort }}
  {{ $where }}: hostPort
{{- end }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The part of it that pods and containers share. (where, context) */ -}}
{{- define "motifk8s.weakerContext" -}}
{{- $where := .where -}}
{{- with .context -}}
{{- if and (hasKey . "runAsNonRoot") (not .runAsNonRoot) }}
  {{ $where }}: runAsNonRoot
{{- end -}}
{{- if and (hasKey . "runAsUser") (eq (toString .runAsUser) "0") }}
  {{ $where }}: runAsUser
{{- end -}}
{{- if and (hasKey . "seccompProfile") (not (has (.seccompProfile | default dict).type (list "RuntimeDefault" "Localhost"))) }}
  {{ $where }}: seccompProfile
{{- end -}}
{{- range $key := list "privileged" "procMount" "sysctls" "seLinuxOptions" "windowsOptions" }}{{ if index $.context $key }}
  {{ $where }}: {{ $key }}
{{- end }}{{ end -}}
{{- if (.capabilities | default dict).add }}
  {{ $where }}: capabilities.add
{{- end -}}
{{- end -}}
{{- end -}}

{{- /*
Retry only after a preemption. Its signs are exit code 75 of motifk8s, the exit codes of SIGTERM and
SIGKILL, and several messages of Argo and of the kubelet. The signal may have ended one of Argo's
containers: init and wait, or supervisor. Exit code 65 of the main container is a failure of the
supervisor before the job began. After a hard reboot of the node the state of the main container is
unknown. Out of memory, disk or time has the same exit codes, but a retry would fail again.
*/ -}}
{{- define "motifk8s.retry" -}}
limit: {{ .Values.retry.limit | int }}
retryPolicy: Always
backoff:
  {{- toYaml .Values.retry.backoff | nindent 2 }}
expression: >-
  (asInt(lastRetry.exitCode) in [65, 75, 137, 143] && not (lastRetry.message matches
  "^((main|supervisor): OOMKilled|Pod was active|Pod ephemeral|Container .* exceeded|Usage of EmptyDir)"))
  || lastRetry.message matches "^(pod deleted|Pod was terminated|Pod was rejected|Preempted|The node
  was low|The node had condition|Pod failed before|pod failed:|can't find failed message)"
  || lastRetry.message matches "^((init|wait|supervisor): (Error|ContainerStatusUnknown) [(]exit code
  (137|143)[)]|main: Unknown [(]exit code 255[)])"
  || lastRetry.message contains "node is draining"
{{- end -}}

{{- /* The common part of pods that Argo does not start. */ -}}
{{- define "motifk8s.pod" -}}
automountServiceAccountToken: false
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
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
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- end -}}
