#!/bin/bash
# Installs the custom resources of the Gateway API and of Istio, from the Go modules that publish them.
set -eu
. "$(dirname "$0")/env.sh"
dir() { go mod download -json "$1" | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",$/\1/p'; }
mkdir -p "$RUN/crds"; cd "$RUN/crds"
[ -e go.mod ] || go mod init crds 2>/dev/null
gateway=$(dir sigs.k8s.io/gateway-api@v1.6.2); istio=$(dir istio.io/api@v1.29.0)
K apply --server-side --force-conflicts $(printf -- "-f %s " "$gateway"/config/crd/experimental/gateway*.yaml) -f "$istio/kubernetes/customresourcedefinitions.gen.yaml" >/dev/null
K wait --for=condition=Established crd --all --timeout=60s >/dev/null
