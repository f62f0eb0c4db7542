// SPDX-License-Identifier: Apache-2.0
// What the admin API tells those who ask about pairs and about the process itself: `/explain-outbound` and
// `/explain-inbound`, one for each end of a connection; `/pod`; `/pod-activity`; `/node`.

import { type AdminAnswer, type AdminRoutes, json, text } from '../mesh/admin/admin-answers.ts'
import { dumpIdentity } from '../mesh/identity/certificate-view.ts'
import { parseIp, parsePort } from '../mesh/net/address.ts'
import { systemClock } from '../mesh/runtime/clock.ts'
import type { App } from './app.ts'
import { inboundFacts } from './decide/inbound-facts.ts'
import type { NodeView } from './decide/node-view.ts'
import { outboundFacts } from './decide/outbound-facts.ts'
import { podFacts } from './decide/pod-facts.ts'
import { podActivity } from './pod-activity.ts'

/** Names and addresses of a question at most: longer ones are nobody's. */
const MAX_NAME_LENGTH = 300
const MAX_SOURCE_IPS = 8 // of one caller

/** The node as its pairs are explained. */
export function nodeView(app: App): NodeView {
  const { nodeName: node, network, clusterDomain, trustDomain, socks5: isSocks5Enabled } = app.config
  app.records.drain()
  return {
    ...{ node, network, clusterDomain, trustDomain, isSocks5Enabled },
    nowMs: systemClock.nowMs,
    state: app.model.state,
    pods: app.pods,
    source: app.sources.model.status(),
    findings: app.sources.model.findings,
    pending: app.pending(),
    isDraining: app.isDraining,
    mendedMs: app.mended.atMs,
    dnsFailures: app.dnsFailures.byPod,
    records: app.records.recent(),
    eventsOf: (pod) => app.events.of(`${pod.namespace}/${pod.name}`),
    activityOf: podActivity(app),
    certificateOf(identity) {
      const status = app.secrets.list().find((each) => each.identity === identity)
      return status === undefined ? undefined : dumpIdentity(status)
    },
  }
}

/** `?source=<pod or address>&destination=<name or address>[&port=<number>]`: what the node of a caller knows. */
function explainOutbound(app: App, query: URLSearchParams): AdminAnswer {
  const [source = '', destination = ''] = ['source', 'destination'].map((name) => query.get(name) ?? '')
  const port = portOf(query)
  const isShort = source.length <= MAX_NAME_LENGTH && destination.length <= MAX_NAME_LENGTH
  if (source === '' || destination === '' || port === undefined || !isShort)
    return text(400, 'usage: /explain-outbound?source=<pod>&destination=<name or address>[&port=<number>]\n')
  return json(outboundFacts(nodeView(app), { source, destination, port }))
}

/** `?uid=<workload>&ip=…&port=…&source=<address>…[&identity=<SPIFFE id>]`: what the node of a destination knows. */
function explainInbound(app: App, query: URLSearchParams): AdminAnswer {
  const [uid = '', identity = ''] = ['uid', 'identity'].map((name) => query.get(name) ?? '')
  const ip = parseIp(query.get('ip') ?? '')
  const port = portOf(query)
  const sourceIps = query.getAll('source').slice(0, MAX_SOURCE_IPS).map(parseIp)
  if (uid === '' || ip === undefined || port === undefined || port === 0 || sourceIps.includes(undefined))
    return text(400, 'usage: /explain-inbound?uid=<workload>&ip=<address>&port=<number>&source=<address>\n')
  const ips = sourceIps.flatMap((each) => each ?? [])
  return json(inboundFacts(nodeView(app), { uid, ip, port, sourceIps: ips, identity }))
}

/** 0: nobody said; undefined: no port. */
function portOf(query: URLSearchParams): number | undefined {
  const asked = query.get('port') ?? '0'
  return asked === '0' ? 0 : parsePort(asked)
}

/** Who this is, whom it serves, how well it is informed. */
function node(app: App): AdminAnswer {
  const { node: name, nowMs, network, clusterDomain, trustDomain, isSocks5Enabled, ...view } = nodeView(app)
  const { pods, source, findings, pending, isDraining, mendedMs, dnsFailures } = view
  return json({
    ...{ node: name, nowMs, network, clusterDomain, trustDomain, isSocks5Enabled },
    version: { node: process.version, model: app.model.state?.version ?? 0 },
    logLevel: app.log.level,
    ...{ pods, source, findings, pending, isDraining, mendedMs, dnsFailures },
  })
}

/** `?name=<namespace>/<name>`: all about pods of this name that are served here. */
async function pod(app: App, query: URLSearchParams): Promise<AdminAnswer> {
  const name = query.get('name') ?? ''
  if (name === '' || name.length > MAX_NAME_LENGTH) return text(400, 'usage: /pod?name=<namespace>/<name>\n')
  await app.drained.look()
  return json(podFacts(nodeView(app), name))
}

/** What each pod does now, by uid: for a dump. */
async function activities(app: App): Promise<AdminAnswer> {
  await app.drained.look()
  const activityOf = podActivity(app)
  return json(Object.fromEntries(app.pods.map((each) => [each.uid, activityOf(each)])))
}

/** Routes of the socket. */
export const pairRoutes: AdminRoutes<App> = {
  '/explain-outbound': { method: 'GET', answer: explainOutbound },
  '/explain-inbound': { method: 'GET', answer: explainInbound },
  '/node': { method: 'GET', answer: node },
  '/pod': { method: 'GET', answer: pod },
  '/pod-activity': { method: 'GET', answer: activities },
}
