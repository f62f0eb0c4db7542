#!/bin/bash
# up.sh [control-plane]: the whole cluster, or its control plane alone, from nothing. Prints the time each part took.
set -eu
. "$(dirname "$0")/env.sh"
[ -e "/run/netns/$PFX-fab" ] && { echo "a cluster with prefix $PFX is up already; kubelab down, or set KUBELAB_PFX, KUBELAB_NET, KUBELAB_SVC, KUBELAB_PODS, KUBELAB_RUN for a second one" >&2; exit 1; }
mkdir -p "$RUN"
t0=$(date +%s.%N); lap() { echo "$(date +%s.%N) $t0" | awk -v w="$1" '{printf "%6.1fs  %s\n", $1-$2, w}'; }
"$HERE/pki.sh"; lap pki
"$HERE/net.sh"; lap network
"$HERE/cp.sh"; lap "control plane ready"
[ "${1:-}" != control-plane ] || exit 0
# the names the node names bind to; kube-proxy has a client certificate, not a service account
K create clusterrolebinding kubelab-kube-proxy --clusterrole=system:node-proxier --user=system:kube-proxy >/dev/null 2>&1 || true
for n in $NODES; do "$HERE/node.sh" $n; done; lap "nodes started"
for n in $NODES; do
  for i in $(seq 300); do c=$(K get node $n -o jsonpath='{.spec.podCIDR}' 2>/dev/null || true); [ -n "$c" ] && break; sleep 0.2; done
  for m in $NODES; do [ $m = $n ] || ip -n $PFX-$m route replace $c via $(nodeip $n); done
  ip route replace $c via $(nodeip $n)
done
ip route replace $SVC_CIDR via $CPIP
lap "pod routes"
K wait --for=condition=Ready node --all --timeout=60s >/dev/null; lap "nodes Ready"
sed "s/10\.96\.0\.10/$DNS_IP/" "$HERE/coredns.yaml" | K apply -f - >/dev/null
K -n kube-system rollout status deploy/coredns --timeout=60s >/dev/null; lap "cluster DNS ready"
