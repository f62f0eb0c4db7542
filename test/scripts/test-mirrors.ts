// SPDX-License-Identifier: Apache-2.0
// Every source file has its test where a reader looks for it, or says here where else, or why it needs none. What
// this list says is checked as far as it can be: a test that is named for a file must reach it by its imports.
import { existsSync, globSync, readFileSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import { dirname, join, normalize } from 'node:path'
import t from 'tap'

const root = join(import.meta.dirname, '..', '..')
const read = (path: string): string => readFileSync(join(root, path), 'utf8')

/** Nothing of it runs. */
const TYPES_ONLY = [
  'cli/why/pair-facts.ts',
  'controller/ca/signing.ts',
  'controller/mesh-view.ts',
  'controller/translate/routes/route-state.ts',
  'controller/translate/translation.ts',
  'controller/watch/config-source.ts',
  'controller/watch/source-mistake.ts',
  'mesh/balance/picker.ts',
  'mesh/discovery/discovery-journal.ts',
  'mesh/http/http-stream.ts',
  'mesh/identity/ca-client.ts',
  'mesh/kubernetes/access.ts',
  'mesh/reactor/scheduler.ts',
  'waypoint/upstream/upstream-connection.ts',
  'ztunnel/model-source.ts',
  'ztunnel/supervisor/enroll/pod-roster.ts',
  'waypoint/worker-messages.ts',
  'ztunnel/worker-messages.ts',
]

/** Names and numbers without a line that could be wrong in itself; limits are in docs/limits.md. */
const VALUES_ONLY = [
  'controller/translate/waypoint-class.ts',
  'mesh/h2/limits.ts',
  'mesh/balance/limits.ts',
  'mesh/hbone/limits.ts',
  'mesh/http1/limits.ts',
  'mesh/identity/lifetimes.ts',
  'mesh/reactor/tls-options.ts',
  'mesh/reactor/byte-stream.ts',
  'mesh/runtime/log-levels.ts',
  'waypoint/carry/limits.ts',
  'waypoint/tokens/limits.ts',
  'waypoint/upstream/limits.ts',
  'ztunnel/accept/acceptors.ts',
  'ztunnel/carry/limits.ts',
  'ztunnel/dns/limits.ts',
  'mesh/generations/data-process-flags.ts',
  'mesh/generations/node-health.ts',
]

/** Started, never imported: a few lines that put parts together, run by every test of whole processes. */
const ENTRY_POINTS = [
  'cli/main.ts',
  'controller/main.ts',
  'waypoint/background-worker.ts',
  'waypoint/main.ts',
  'waypoint/supervisor/main.ts',
  'waypoint/warm-up.ts',
  'waypoint/worker.ts',
  'ztunnel/background-worker.ts',
  'ztunnel/main.ts',
  'ztunnel/supervisor/main.ts',
  'ztunnel/warm-up.ts',
  'ztunnel/worker.ts',
]

/** Tested together with others, by a test that is named after what they do together. */
const ELSEWHERE: Readonly<Record<string, readonly string[]>> = {
  'test/cli/commands/tables.ts': ['cli/ask-all.ts', 'cli/exit-codes.ts', 'cli/output.ts'],
  'test/cli/fleet/dump.ts': ['cli/commands/dump.ts', 'cli/fleet/fleet.ts'],
  'test/cli/fleet/open-fleet.ts': ['cli/fleet/demo.ts'],
  'test/cli/why/explain-pair.ts': [
    'cli/why/ask-pair.ts',
    'cli/why/certificate-check.ts',
    'cli/why/failed-attempt.ts',
  ],
  'test/controller/config.ts': ['controller/contradictions.ts', 'controller/redis-address.ts'],
  'test/controller/status/desired-status.ts': [
    'controller/status/gateway-status.ts',
    'controller/status/reach.ts',
    'controller/status/status-patch.ts',
  ],
  'test/controller/translate/auto-addresses.ts': ['controller/translate/age.ts'],
  'test/controller/translate/fields.ts': ['controller/translate/notes.ts'],
  'test/controller/translate/peer-authentication.ts': ['controller/translate/peer-stage.ts'],
  'test/controller/translate/policy-names.ts': ['controller/translate/stable-hash.ts'],
  'test/controller/translate/selectors.ts': ['controller/translate/label-selector.ts'],
  'test/controller/translate/translate.ts': [
    'controller/translate/balancing.ts',
    'controller/translate/endpoint-address.ts',
    'controller/translate/endpoint-slices.ts',
    'controller/translate/enrolment.ts',
    'controller/translate/namespaces.ts',
    'controller/translate/pods.ts',
    'controller/translate/policy-stage.ts',
    'controller/translate/policy-targets.ts',
    'controller/translate/same-node.ts',
    'controller/translate/requests/request-rules.ts',
    'controller/translate/requests/request-stage.ts',
    'controller/translate/requests/request-values.ts',
    'controller/translate/requests/token-rules.ts',
    'controller/translate/routes/backend-finder.ts',
    'controller/translate/routes/claims.ts',
    'controller/translate/routes/gateway-backends.ts',
    'controller/translate/routes/gateway-filters.ts',
    'controller/translate/routes/gateway-matches.ts',
    'controller/translate/routes/gateway-route.ts',
    'controller/translate/routes/gateway-rules.ts',
    'controller/translate/routes/recorded-parts.ts',
    'controller/translate/routes/route-parents.ts',
    'controller/translate/routes/route-part.ts',
    'controller/translate/routes/route-stage.ts',
    'controller/translate/routes/waypoint-scopes.ts',
    'controller/translate/routes/destination-rule.ts',
    'controller/translate/routes/host-routes.ts',
    'controller/translate/routes/traffic-policy-stage.ts',
    'controller/translate/routes/virtual-actions.ts',
    'controller/translate/routes/virtual-match.ts',
    'controller/translate/routes/virtual-service.ts',
    'controller/translate/service-entries.ts',
    'controller/translate/service-entry-endpoints.ts',
    'controller/translate/service-info.ts',
    'controller/translate/service-stage.ts',
    'controller/translate/services.ts',
    'controller/translate/target-finder.ts',
    'controller/translate/telemetry/read-telemetry.ts',
    'controller/translate/telemetry/telemetry-stage.ts',
    'controller/translate/waypoint-identities.ts',
    'controller/translate/waypoint-request.ts',
    'controller/translate/waypoints.ts',
    'controller/translate/workload-entries.ts',
    'controller/translate/workload-parts.ts',
  ],
  'test/controller/translate/routes/precedence.ts': ['controller/translate/routes/service-routes.ts'],
  'test/fuzz/translate-authorization.ts': [
    'controller/translate/authorization-rules.ts',
    'controller/translate/authorization-values.ts',
    'controller/translate/l7-detection.ts',
  ],
  'test/fuzz/translate-waypoint-policies.ts': [
    'controller/translate/policy-draft.ts',
    'controller/translate/targeted-policy.ts',
  ],
  'test/fuzz/translate-waypoint-only.ts': ['controller/translate/waypoint-guards.ts'],
  'test/fuzz/translate-garbage.ts': ['controller/translate/finding-codes.ts'],
  'test/integration/controller-objects.ts': [
    'controller/admin-objects.ts',
    'controller/watch/object-writer.ts',
  ],
  'test/integration/controller.ts': [
    'controller/admin-ca.ts',
    'controller/admin.ts',
    'controller/app.ts',
    'controller/audited.ts',
    'mesh/grpc/any-server.ts',
    'mesh/identity/istio-ca.ts',
    'mesh/identity/node-identity.ts',
    'mesh/control/controller-link.ts',
    'ztunnel/model-discovery.ts',
  ],
  'test/mesh/http1/client-session.ts': ['mesh/http1/head-text.ts'],
  'test/mesh/http1/message-reader.ts': ['mesh/http1/chunk-line.ts'],
  'test/mesh/http1/request-head.ts': ['mesh/http/syntax.ts', 'mesh/http1/head.ts'],
  'test/mesh/http1/server-session.ts': [
    'mesh/http1/connection.ts',
    'mesh/http1/message-writer.ts',
    'mesh/http1/stream.ts',
  ],
  'test/mesh/control/node-certificate.ts': ['mesh/control/join-request.ts'],
  'test/mesh/telemetry/record-encoder.ts': [
    'mesh/telemetry/record-brief.ts',
    'mesh/telemetry/record-decoder.ts',
  ],
  'test/mesh/telemetry/edge-report.ts': ['mesh/telemetry/edge.ts'],
  'test/ztunnel/capture/captures.ts': ['ztunnel/capture/capture-file.ts', 'ztunnel/carry/payload-capture.ts'],
  'test/mesh/generations/supervisor-link.ts': ['mesh/generations/handover.ts'],
  'test/ztunnel/model-file.ts': ['mesh/model/model-store.ts'],
  'test/mesh/snapshot/model-journal.ts': ['mesh/snapshot/compact-journal.ts'],
  'test/mesh/snapshot/read-frames.ts': ['mesh/snapshot/write-sealed.ts'],
  'test/mesh/snapshot/saved-document.ts': ['mesh/snapshot/snapshot-alarm.ts'],
  'test/mesh/discovery/discovery-client.ts': [
    'mesh/discovery/delta-client.ts',
    'mesh/discovery/protocol.ts',
    'mesh/discovery/resource-error.ts',
    'mesh/grpc/stream-client.ts',
  ],
  'test/cluster/provision.ts': ['controller/provision/object-writer.ts'],
  'test/controller/provision/waypoint-objects.ts': [
    'controller/provision/object-path.ts',
    'controller/provision/waypoint-labels.ts',
  ],
  'test/controller/provision/provision-waypoints.ts': [
    'controller/provision/provision-problem.ts',
    'controller/provision/tasks.ts',
  ],
  'test/cluster/lease-and-secret.ts': [
    'controller/kubernetes/api-failure.ts',
    'controller/kubernetes/secret-key-store.ts',
  ],
  'test/controller/kubernetes/lease.ts': ['controller/kubernetes/lease-decision.ts'],
  'test/controller/publish/delta-session.ts': [
    'controller/publish/address-names.ts',
    'controller/publish/node-scopes.ts',
    'controller/publish/publisher.ts',
    'controller/publish/subscription.ts',
  ],
  'test/controller/publish/resource-log.ts': ['controller/publish/encode.ts'],
  'test/controller/watch/directory.ts': [
    'controller/watch/directory-scan.ts',
    'controller/watch/file-objects.ts',
  ],
  'test/controller/watch/kubernetes.ts': [
    'controller/kubernetes/kube-config.ts',
    'controller/watch/kubernetes-kind.ts',
    'controller/watch/kubernetes-prune.ts',
    'controller/watch/object-cache.ts',
    'mesh/kubernetes/client.ts',
    'mesh/kubernetes/raw-map.ts',
  ],
  'test/controller/watch/read-object.ts': [
    'controller/watch/value-mistakes.ts',
    'controller/watch/value-size.ts',
  ],
  'test/controller/watch/redis.ts': ['controller/watch/redis-keys.ts', 'controller/watch/redis-store.ts'],
  'test/controller/watch/schema/check-kind.ts': [
    'controller/watch/schema/core.ts',
    'controller/watch/schema/gateway-routes.ts',
    'controller/watch/schema/istio-routes.ts',
    'controller/watch/schema/istio-telemetry.ts',
    'controller/watch/schema/istio.ts',
    'controller/watch/schema/shape.ts',
  ],
  'test/ztunnel/dns/dns-server.ts': ['ztunnel/dns/dns-resources.ts'],
  'test/ztunnel/decide/explanation.ts': ['ztunnel/decide/explained-side.ts'],
  'test/ztunnel/decide/outbound-facts.ts': ['ztunnel/decide/inbound-facts.ts', 'ztunnel/decide/node-view.ts'],
  'test/ztunnel/dns/dns-decision.ts': ['ztunnel/dns/dns-names.ts'],
  'test/ztunnel/supervisor/pod-sockets.ts': ['mesh/generations/pods.ts'],
  'test/contract/join-token-store.ts': [
    'controller/ca/join-token-directory.ts',
    'controller/ca/join-token-document.ts',
    'controller/ca/join-token-redis.ts',
  ],
  'test/mesh/authz/evaluate.ts': ['mesh/authz/connection.ts'],
  'test/mesh/identity/secret-manager.ts': ['mesh/errors/mesh-error.ts'],
  'test/mesh/model/destination.ts': ['mesh/model/workload-facts.ts'],
  'test/mesh/model/mesh-state.ts': ['mesh/model/address-index.ts'],
  'test/mesh/h2/books.ts': [
    'mesh/h2/byte-queue.ts',
    'mesh/h2/flood-guard.ts',
    'mesh/h2/header-rules.ts',
    'mesh/h2/ping-tracker.ts',
    'mesh/h2/session-resources.ts',
    'mesh/h2/settings.ts',
    'mesh/h2/stream-table.ts',
  ],
  'test/mesh/h2/hpack/decoder.ts': ['mesh/h2/hpack/dynamic-table.ts'],
  'test/mesh/h2/hpack/encoder.ts': ['mesh/h2/hpack/static-table.ts'],
  'test/mesh/h2/session.ts': [
    'mesh/h2/frame-writer.ts',
    'mesh/h2/header-assembler.ts',
    'mesh/h2/session-core.ts',
    'mesh/h2/stream.ts',
  ],
  'test/mesh/grpc/server.ts': ['mesh/grpc/calls.ts'],
  'test/mesh/hbone/headers.ts': [
    'mesh/errors/refusal.ts',
    'mesh/hbone/authority.ts',
    'mesh/hbone/baggage.ts',
    'mesh/hbone/forwarded.ts',
    'mesh/hbone/traceparent.ts',
  ],
  'test/mesh/hbone/tunnel-pool.ts': ['mesh/hbone/keep-alive.ts', 'mesh/hbone/pooled-connect.ts'],
  'test/mesh/hbone/tunnel.ts': [
    'mesh/hbone/connect-attempt.ts',
    'mesh/hbone/tunnel-client.ts',
    'mesh/hbone/tunnel-server.ts',
  ],
  'test/contract/socket-streams.ts': ['mesh/reactor/direct-pair.ts'],
  'test/mesh/redis/redis-connection.ts': ['mesh/redis/redis-error.ts'],
  'test/mesh/reactor/self-test.ts': [
    'mesh/reactor/ffi/constants.ts',
    'mesh/reactor/ffi/libc.ts',
    'mesh/reactor/ffi/openssl.ts',
  ],
  'test/mesh/reactor/udp-socket.ts': ['mesh/reactor/datagram-message.ts'],
  'test/netns/netlink.ts': [
    'mesh/reactor/netlink/addresses.ts',
    'mesh/reactor/netlink/connection.ts',
    'mesh/reactor/netlink/links.ts',
    'mesh/reactor/netlink/nf-tables.ts',
    'mesh/reactor/netlink/routes.ts',
  ],
  'test/netns/cni.ts': [
    'ztunnel/supervisor/enroll/admit-pod.ts',
    'ztunnel/supervisor/enroll/cni/cni-agent.ts',
    'ztunnel/supervisor/enroll/cni/pod-netns.ts',
  ],
  'test/netns/pod-namespaces.ts': ['ztunnel/supervisor/enroll/pod-namespaces.ts'],
  'test/netns/probe-rules.ts': [
    'mesh/reactor/netlink/nf-sets.ts',
    'ztunnel/supervisor/enroll/probe-rules.ts',
  ],
  'test/netns/enrolment-faults.ts': ['ztunnel/supervisor/enroll/foreign-redirection.ts'],
  'test/netns/strict-guard.ts': [
    'ztunnel/supervisor/enroll/host-table.ts',
    'ztunnel/supervisor/enroll/strict-guard.ts',
  ],
  'test/netns/reactor-conntrack.ts': ['mesh/reactor/netlink/conntrack.ts'],
  'test/netns/reactor-namespaces.ts': ['mesh/reactor/netns.ts'],
  'test/netns/virtual-network.ts': ['mesh/reactor/netlink/virtual-network.ts'],
  'test/scripts/generate-docs.ts': ['mesh/errors/reasons.ts'],
  'test/ztunnel/worker-set.ts': ['mesh/reactor/worker-crew.ts', 'mesh/telemetry/counters.ts'],
  'test/mesh/balance/ring-hash.ts': ['mesh/balance/key-picker.ts'],
  'test/waypoint/accept/protocol-peek.ts': ['waypoint/accept/prefixed-stream.ts'],
  'test/waypoint/decide/authorize.ts': ['waypoint/decide/call-facts.ts', 'waypoint/decide/constraint.ts'],
  'test/waypoint/model/describe.ts': ['waypoint/model/views.ts'],
  'test/waypoint/records/access-format.ts': ['waypoint/records/access-operators.ts'],
  'test/waypoint/records/request-log.ts': ['waypoint/records/lines.ts'],
  'test/waypoint/records/request-record.ts': ['waypoint/records/logged-request.ts'],
  'test/waypoint/upstream/cluster.ts': [
    'waypoint/upstream/cluster-view.ts',
    'waypoint/upstream/open-attempt.ts',
    'waypoint/upstream/upstream-endpoint.ts',
    'waypoint/upstream/upstream-exchange.ts',
  ],
  'test/waypoint/upstream/connection-pool.ts': [
    'waypoint/upstream/dials.ts',
    'waypoint/upstream/http1-connection.ts',
    'waypoint/upstream/http2-connection.ts',
    'waypoint/upstream/waiting-attempts.ts',
  ],
}

/** Parts of processes whose behaviour shows only from outside: the test starts the processes. */
const IN_PROCESSES: Readonly<Record<string, readonly string[]>> = {
  'test/netns/waypoint.ts': [
    'waypoint/accept/tunnel.ts',
    'waypoint/admin-routes.ts',
    'waypoint/app.ts',
    'waypoint/carry/attempt.ts',
    'waypoint/carry/exchange-outcome.ts',
    'waypoint/carry/exchange-record.ts',
    'waypoint/carry/exchange.ts',
    'waypoint/carry/http-connection.ts',
    'waypoint/carry/mirror.ts',
    'waypoint/carry/replay.ts',
    'waypoint/carry/request-plan.ts',
    'waypoint/carry/tcp-connection.ts',
    'waypoint/carry/waypoint-context.ts',
    'waypoint/sources.ts',
    'waypoint/supervisor/supervisor.ts',
    'waypoint/waypoint-worker.ts',
    'waypoint/worker-set.ts',
  ],
  'test/netns/sidestep-why.ts': ['mesh/admin/admin-answers.ts', 'ztunnel/admin-pairs.ts'],
  'test/integration/controller-replicas.ts': ['controller/sources.ts'],
  'test/netns/drift.ts': ['mesh/reactor/netlink/table-events.ts'],
  'test/ztunnel/supervisor/next-supervisor.ts': ['ztunnel/supervisor/predecessor.ts'],
  'test/netns/ztunnel-generations.ts': ['ztunnel/admin-drain.ts', 'mesh/generations/generations.ts'],
  'test/netns/ztunnel-gateway.ts': ['ztunnel/carry/gateway-tunnel.ts'],
  'test/netns/ztunnel-same-node.ts': ['ztunnel/carry/same-node.ts'],
  'test/netns/ztunnel-retry.ts': ['ztunnel/carry/outbound-attempts.ts'],
  'test/netns/ztunnel-connections.ts': [
    'mesh/telemetry/traffic-labels.ts',
    'ztunnel/accept/inbound-listener.ts',
    'ztunnel/accept/outbound-listener.ts',
    'ztunnel/accept/passthrough-listener.ts',
    'ztunnel/admin-routes.ts',
    'mesh/admin/admin-server.ts',
    'ztunnel/app.ts',
    'ztunnel/carry/carry-inbound.ts',
    'ztunnel/carry/destinations.ts',
    'ztunnel/carry/downstream.ts',
    'ztunnel/carry/host-lookups.ts',
    'mesh/identity/worker-identities.ts',
    'ztunnel/carry/inbound-connection.ts',
    'ztunnel/carry/inbound-tunnel.ts',
    'ztunnel/carry/outbound-connection.ts',
    'ztunnel/carry/served-pod.ts',
    'ztunnel/carry/tunnels.ts',
    'ztunnel/carry/worker-context.ts',
    'ztunnel/carry/workload-baggage.ts',
    'ztunnel/metrics.ts',
    'ztunnel/sources.ts',
    'ztunnel/watch-certificates.ts',
    'mesh/generations/data-process.ts',
    'ztunnel/supervisor/enrolment-sources.ts',
    'ztunnel/supervisor/supervisor.ts',
    'ztunnel/accept/pod-doors.ts',
    'ztunnel/ztunnel-worker.ts',
  ],
  'test/cluster/enrolment.ts': [
    'ztunnel/supervisor/enroll/left-rules.ts',
    'ztunnel/supervisor/enroll/node-lists.ts',
    'ztunnel/supervisor/enroll/pod-watch.ts',
    'ztunnel/supervisor/enroll/start-pod-watch.ts',
  ],
  'test/netns/ztunnel-traces.ts': [
    'mesh/runtime/version.ts',
    'mesh/tracing/span-metrics.ts',
    'ztunnel/tracing/open-spans.ts',
  ],
  'test/netns/waypoint-traces.ts': ['waypoint/request-taps.ts', 'waypoint/tracing/open-spans.ts'],
  'test/netns/ztunnel-insight.ts': ['ztunnel/pod-activity.ts'],
  'test/netns/ztunnel-renewal.ts': ['ztunnel/admin-certificates.ts', 'ztunnel/carry/tunnel-certificates.ts'],
}

/** Tests that mirror no file, and what they are about. */
const OWN_SUBJECT: Readonly<Record<string, string>> = {
  'test/mesh/http1/server-session-end.ts': 'how long connections of mesh/http1/server-session.ts last',
  'test/mesh/generations/keep.ts': 'the shell script keep.sh',
  'test/mesh/h2/books.ts': 'the books a session keeps',
  'test/mesh/h2/floods.ts': 'peers that cost more than they give',
  'test/mesh/h2/flow-control.ts': 'windows, budgets and congestion',
  'test/mesh/h2/session-end.ts': 'how streams and connections end',
  'test/mesh/hbone/headers.ts': 'the texts of a CONNECT',
  'test/mesh/hbone/tunnel.ts': 'client and server of a tunnel against each other',
  'test/mesh/identity/secret-manager-outages.ts': 'a CA that is away, and clocks that jump',
  'test/mesh/reactor/revoked-peers.ts': 'handshakes with peers whose certificate is revoked',
  'test/mesh/reactor/tls-socket-end.ts': 'the end of a TLS stream without room for it',
}

const sources = globSync('{mesh,ztunnel,waypoint,controller,cli}/**/*.ts', { cwd: root }).toSorted()
const excused = new Set([
  ...TYPES_ONLY,
  ...VALUES_ONLY,
  ...ENTRY_POINTS,
  ...Object.values(ELSEWHERE).flat(),
  ...Object.values(IN_PROCESSES).flat(),
])

/** What runs of a file: without types and comments. */
function runningText(path: string): string {
  return stripTypeScriptTypes(read(path))
    .replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '')
    .replace(/^import .*$|^export \{\}|;/gm, '')
    .trim()
}

/** The files a file reaches by its imports. */
function reachedFrom(path: string): Set<string> {
  const reached = new Set<string>()
  for (const queue = [path]; queue.length > 0; ) {
    const from = queue.pop() ?? ''
    for (const [, target = ''] of read(from).matchAll(/from '(\.[^']+)'/g)) {
      const to = normalize(join(dirname(from), target))
      if (reached.has(to) || !existsSync(join(root, to))) continue
      reached.add(to)
      queue.push(to)
    }
  }
  return reached
}

t.test('every source file has a test of its own, or its reason is given', async (t) => {
  t.ok(sources.length > 100)
  const missing = sources.filter((path) => !existsSync(join(root, 'test', path)) && !excused.has(path))
  t.same(missing, [])
})

t.test('every test of a unit has its source, or its subject is given', async (t) => {
  const tests = globSync('test/{mesh,ztunnel,waypoint,controller}/**/*.ts', { cwd: root })
  const orphans = tests.filter((path) => !existsSync(join(root, path.slice('test/'.length))))
  t.same(orphans.toSorted(), Object.keys(OWN_SUBJECT).toSorted())
})

t.test('reasons are about files that are there', async (t) => {
  for (const path of excused) t.ok(existsSync(join(root, path)), path)
  for (const test of [...Object.keys(ELSEWHERE), ...Object.keys(IN_PROCESSES)])
    t.ok(existsSync(join(root, test)), test)
})

t.test(
  'files of types run nothing, files of values decide nothing, entry points are not imported',
  async (t) => {
    for (const path of TYPES_ONLY) t.equal(runningText(path), '', path)
    for (const path of VALUES_ONLY) t.notMatch(runningText(path), /\bfunction\b|\bclass\b|=>|\?/, path)
    const entries = new Set(ENTRY_POINTS)
    for (const path of sources) {
      if (path.endsWith('/warm-up.ts')) continue // imports them to have them compiled
      for (const [, kind = '', target = ''] of read(path).matchAll(/^import (type )?.*?'(\.[^']+)'$/gm)) {
        const to = normalize(join(dirname(path), target))
        if (entries.has(to)) t.equal(kind, 'type ', `${path} imports ${to}`)
      }
    }
  },
)

t.test('a test that is named for a file reaches it', async (t) => {
  for (const [test, paths] of Object.entries(ELSEWHERE)) {
    const reached = reachedFrom(test)
    for (const path of paths) t.ok(reached.has(path), `${test} reaches ${path}`)
  }
})
