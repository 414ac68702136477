{{/*
What a values file of the AWS plugin's chart may ask for and Veni does not do. Each is
refused with what to write instead, so that nothing is ignored in silence.
*/}}
{{- define "veni.refused" -}}
{{- $v := .Values -}}
{{- $on := list "true" "True" "1" -}}
{{- if or (eq $v.nameOverride "aws-node") (eq $v.fullnameOverride "aws-node") -}}
{{- fail "nameOverride and fullnameOverride: aws-node is the AWS plugin's DaemonSet, which Veni replaces and does not adopt; remove both values" -}}
{{- end -}}
{{- if $v.originalMatchLabels -}}
{{- fail "originalMatchLabels: Veni cannot adopt the DaemonSet aws-node; set it to false and remove that DaemonSet as docs/migration-aws.md says" -}}
{{- end -}}
{{- if eq (toString $v.image.account) "602401143452" -}}
{{- fail "image.account: 602401143452 has the AWS plugin's image; name the registry to which you pushed Veni's (image.override or image.overrideRepository)" -}}
{{- end -}}
{{- if $v.init.image -}}
{{- fail "init.image: Veni's daemon installs its plugin itself, without an init image; remove it" -}}
{{- end -}}
{{- if $v.init.securityContext -}}
{{- fail "init.securityContext: Veni has no privileged init container; remove it" -}}
{{- end -}}
{{- if ($v.nodeAgent).enabled -}}
{{- fail "nodeAgent.enabled: this version of Veni enforces no network policies; set it to false, and let another engine enforce them" -}}
{{- end -}}
{{- if has (toString $v.enableNetworkPolicy) $on -}}
{{- fail "enableNetworkPolicy: this version of Veni enforces no network policies; set it to \"false\", and let another engine enforce them" -}}
{{- end -}}
{{- range $name := list "enableWindowsIpam" "enableWindowsPrefixDelegation" -}}
{{- if has (toString (get $v $name)) $on -}}
{{- fail (printf "%s: EKS's control plane reads it from the ConfigMap amazon-vpc-cni, which this chart does not have, because Veni runs on Linux alone; set it to \"false\" here and write that ConfigMap yourself" $name) -}}
{{- end -}}
{{- end -}}
{{- if ($v.cniConfig).enabled -}}
{{- fail "cniConfig.enabled: the daemon writes 10-veni.conflist by its settings; set it to false, and put a list of your own that calls veni-cni before it in the nodes' /etc/cni/net.d" -}}
{{- end -}}
{{- if and (hasKey ($v.crd | default dict) "create") (not $v.crd.create) -}}
{{- fail "crd.create: Helm installs the definitions in crds/; remove the value, and give helm the option --skip-crds" -}}
{{- end -}}
{{- range $name := list "livenessProbe" "readinessProbe" -}}
{{- if (get $v $name).exec -}}
{{- fail (printf "%s.exec: Veni's image has no shell and no grpc-health-probe; remove it, and the probe asks by gRPC" $name) -}}
{{- end -}}
{{- end -}}
{{- $rights := $v.securityContext -}}
{{- if and $rights (not $rights.privileged) -}}
{{- range $needed := list "NET_ADMIN" "SYS_ADMIN" -}}
{{- if not (has $needed (($rights.capabilities).add | default list)) -}}
{{- fail (printf "securityContext: it replaces the chart's as a whole and lacks the capability %s, without which no pod gets a network; remove the value, or add what values.yaml names" $needed) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $file := get (include "veni.settings" . | fromYaml) "AWS_VPC_K8S_CNI_LOG_FILE" | default "stderr" -}}
{{- $known := or (has $file (list "stderr" "stdout")) (regexMatch "^/host/var/log/[^/]+/" $file) -}}
{{- if not (or $known $v.extraVolumeMounts) -}}
{{- fail (printf "env.AWS_VPC_K8S_CNI_LOG_FILE: %s is in the container, whose file system is read-only; choose stderr or a file in a folder below /host/var/log, or mount its folder with extraVolumes and extraVolumeMounts" $file) -}}
{{- end -}}
{{- end }}
