// SPDX-License-Identifier: Apache-2.0
// The answer to `why`: what stops a pair, where, by which rule, and what would have to change. Pure. It follows the way of
// a connection and names the first thing that stops it; what only may stop it one day is a risk. Of a pair that is well it
// says nothing.
import { REASONS, type ReasonCode } from '../../mesh/errors/reasons.ts'
import { formatSocketAddress } from '../../mesh/net/address.ts'
import type { InboundFacts } from '../../ztunnel/decide/inbound-facts.ts'
import type { IdentityFacts, NodeHealth } from '../../ztunnel/decide/node-view.ts'
import type { OutboundFacts } from '../../ztunnel/decide/outbound-facts.ts'
import { certificateProblem, distrust, trustDomainOf } from './certificate-check.ts'
import { failedAttempt, failedQuestion } from './failed-attempt.ts'
import type { AnsweredWay, PairFacts, PairFinding, PairHop, PairVerdict } from './pair-facts.ts'

/** How long a mended redirection is worth a word. */
const RECENTLY_MENDED_MS = 300_000
/** Clocks may differ by so much and still be well: nodes are asked one after the other, which takes up to 20 s in a cluster. */
const CLOCKS_APART_MS = 30_000

interface Found {
  readonly causes: PairFinding[]
  readonly risks: PairFinding[]
}

const finding = (
  code: ReasonCode,
  hop: PairHop,
  where: string,
  detail: string,
  more: { readonly fix?: string; readonly policy?: string } = {},
): PairFinding => ({
  ...{ code, hop, where, detail },
  fix: more.fix || REASONS[code].fix,
  policy: more.policy ?? '',
})

/** Explains a pair. */
export function explainPair(facts: PairFacts): PairVerdict {
  const { asked, outbound, ways, silent } = facts
  const asWritten = asked.port === 0 ? asked.destination : formatSocketAddress(asked.destination, asked.port)
  const nothing = { source: asked.source, destination: asWritten, way: '', policy: '', risks: [], silent }
  if (outbound?.source == null) {
    const cause = finding(
      'WORKLOAD_UNKNOWN',
      'source',
      asked.source,
      'no node that answered knows a pod of this name',
      { fix: 'check the name; name a pod outside the mesh by its address' },
    )
    return { ...nothing, outcome: 'unknown', code: cause.code, reason: cause.detail, cause }
  }
  const { source, target } = outbound
  const destination =
    target === null || target.ip === '' ? asWritten : formatSocketAddress(target.name, target.port)
  const names = { ...nothing, source: source.name, destination }
  const found: Found = { causes: [], risks: [] }
  checkSource(facts, outbound, found)
  const perWay = ways.map((each) => checkWay(outbound, each))
  // A connection takes one of the ways: it is stopped for certain only where all of them are.
  const open = perWay.find(({ causes }) => causes.length === 0)
  const chosen: Found = open ?? perWay[0] ?? { causes: [], risks: [] }
  const causes = [...found.causes, ...chosen.causes]
  const barred = open === undefined ? [] : perWay.flatMap((each) => each.causes)
  const risks = distinct([...found.risks, ...chosen.risks, ...barred])
  const cause = causes[0] ?? failedAttempt(outbound, ways) ?? failedQuestion(outbound)
  const taken = ways[perWay.indexOf(chosen)]
  const policies = taken?.inbound?.policies
  const told = { ...names, way: taken === undefined ? outsideText(outbound) : wayText(taken), risks }
  if (cause !== null) {
    const outcome = causes.length > 0 ? 'refused' : 'failing'
    const way = taken === undefined ? '' : told.way
    return { ...told, way, outcome, code: cause.code, policy: cause.policy, reason: cause.detail, cause }
  }
  const outcome = taken?.way.kind === 'hbone' ? 'allowed' : 'plain'
  const reason = policies?.reason ?? ''
  return { ...told, outcome, code: 'OK', policy: policies?.policy ?? '', reason, cause: null }
}

function wayText({ way, inbound }: AnsweredWay): string {
  return inbound?.detour?.code === 'OK' ? `${way.text}; ${inbound.detour.reason}` : way.text
}

function outsideText({ target }: OutboundFacts): string {
  return target === null || target.isOfMesh
    ? ''
    : `${target.name} is no name of the mesh: the resolver of the pod answers, and it is carried as it is`
}

/** All that is at the caller's end. */
function checkSource(facts: PairFacts, outbound: OutboundFacts, found: Found): void {
  const { source, target, health, isServed, mendedMs, refusal, certificate } = outbound
  if (source === null) return
  checkHealth(health, found)
  if (mendedMs !== null && health.nowMs - mendedMs < RECENTLY_MENDED_MS)
    found.risks.push(mendedFinding('source', source.name, health.nowMs - mendedMs))
  if (!isServed && source.protocol === 'HBONE' && facts.isSourceNodeHeard) {
    const detail = `the mesh counts ${source.name} as enrolled at ${source.node}, and that node does not serve it`
    found.causes.push(finding('NOT_ENROLLED', 'source', source.name, detail))
  }
  if (target !== null && target.ip === '') {
    const unknown = unknownName(outbound)
    if (unknown !== null) found.causes.push(unknown)
  }
  if (refusal !== null) {
    const { code, detail } = refusal
    found.causes.push(finding(code, refusalHop(code), target?.name ?? '', detail || REASONS[code].fix))
  }
  if (isServed && facts.ways.some(({ way }) => way.kind === 'hbone'))
    checkCertificate(certificate, health, 'source', found)
}

/** Names of the cluster that nobody has: what looks like another's is left to its resolver. */
function unknownName({ target, source }: OutboundFacts): PairFinding | null {
  const name = target?.name ?? ''
  if (target?.isOfMesh)
    return finding('NO_ENDPOINT', 'name', name, `${name} has no address: it is headless and has no pod`)
  const labels = name.split('.')
  const isOurs = labels.length === 1 || name.includes('/') || /\.svc(\.|$)/.test(name)
  if (!isOurs) return null
  const detail = `neither a service nor a pod is called ${name}, as ${source?.name} sees names`
  const fix = 'correct the name or create the service; write namespace/name for another namespace'
  return finding('HOSTNAME_UNKNOWN', 'name', name, detail, { fix })
}

function refusalHop(code: ReasonCode): PairHop {
  if (code.startsWith('WAYPOINT')) return 'waypoint'
  return code === 'WORKLOAD_UNKNOWN' || code === 'LOOP' ? 'source' : 'destination'
}

function mendedFinding(hop: PairHop, where: string, agoMs: number): PairFinding {
  const detail = `its redirection was damaged and was mended ${Math.round(agoMs / 1000)} s ago: until then it went round the mesh`
  return finding('NOT_ENROLLED', hop, where, detail)
}

/** What a node does not know, or knows only from before. */
function checkHealth(health: NodeHealth, found: Found): void {
  const { node, hasModel, isConnected, controller, lastFailure, snapshotAgeSeconds, findings } = health
  const since = health.disconnectedSeconds > 0 ? ` for ${health.disconnectedSeconds} s` : ''
  const why = lastFailure === '' ? '' : `: ${lastFailure}`
  if (!hasModel)
    found.causes.push(finding('CONFIG_STALE', 'discovery', node, `${node} has no configuration yet${why}`))
  else if (!isConnected || snapshotAgeSeconds !== null) {
    const saved = snapshotAgeSeconds === null ? '' : `, it goes by what it saved ${snapshotAgeSeconds} s ago`
    const detail = `${node} has no stream to its controller ${controller}${since}${saved}${why}`
    found.risks.push(finding('CONFIG_STALE', 'discovery', node, detail))
  }
  for (const each of findings) found.risks.push(finding('CONFIG_INVALID', 'discovery', node, each))
  if (health.isDraining)
    found.risks.push(finding('DRAIN', 'discovery', node, `the ztunnel of ${node} lets its connections end`))
}

function checkCertificate(
  certificate: IdentityFacts | null,
  { nowMs, node }: NodeHealth,
  hop: PairHop,
  found: Found,
): void {
  const problem = certificateProblem(certificate, nowMs)
  if (problem === null) return
  const { code, detail, isCause } = problem
  const into = isCause ? found.causes : found.risks
  into.push(finding(code, hop, node, detail))
}

/** All that is at the destination's end of one way. */
function checkWay(outbound: OutboundFacts, { way, inbound }: AnsweredWay): Found {
  const found: Found = { causes: [], risks: [] }
  if (inbound === null || way.isWaypoint) return found
  checkHealth(inbound.health, found)
  const where = way.destination?.name ?? way.dial
  const { nowMs, node } = inbound.health
  if (inbound.mendedMs !== null && nowMs - inbound.mendedMs < RECENTLY_MENDED_MS)
    found.risks.push(mendedFinding('destination', where, nowMs - inbound.mendedMs))
  if (!inbound.isServed) {
    // A plain way ends at a pod that no node has to serve.
    if (way.destination?.protocol === 'HBONE') {
      const detail = `the mesh counts ${where} as enrolled at ${node}, and that node does not serve it`
      found.causes.push(finding('HBONE_PORT_REFUSED', 'destination', where, detail))
    }
    return found
  }
  if (way.kind === 'hbone') {
    const [from, to] = [outbound.source, inbound.destination].map((party) =>
      trustDomainOf(party?.identity ?? ''),
    )
    if (from !== to) {
      const detail = `the caller is of ${from}, the destination of ${to}`
      found.causes.push(finding('TRUST_DOMAIN', 'destination', where, detail))
    }
    checkClocks(outbound, inbound, found)
    checkCertificate(inbound.certificate, inbound.health, 'destination', found)
    checkTrust(outbound, inbound, where, found)
  }
  const { policies } = inbound
  if (policies !== null && policies.code !== 'OK') {
    const { code, reason, fix, policy } = policies
    found.causes.push(finding(code, 'destination', where, reason, { fix, policy }))
  }
  if (inbound.detour !== null && inbound.detour.code !== 'OK') {
    const { code, reason, fix } = inbound.detour
    found.causes.push(finding(code, code === 'LOOP' ? 'destination' : 'waypoint', where, reason, { fix }))
  }
  checkListener(inbound, where, way.port, found)
  return found
}

/** Each end judges what the other one shows by its own clock. */
function checkClocks({ health, certificate }: OutboundFacts, far: InboundFacts, found: Found): void {
  const apartMs = far.health.nowMs - health.nowMs
  if (Math.abs(apartMs) < CLOCKS_APART_MS) return
  const seconds = Math.round(Math.abs(apartMs) / 1000)
  const how = `${seconds} s ${apartMs > 0 ? 'ahead of' : 'behind'} that of ${health.node}`
  const detail = `the clock of ${far.health.node} is ${how}`
  const judged = [
    ['destination', certificate, far.health],
    ['source', far.certificate, health],
  ] as const
  const fix = REASONS.CLOCKS_APART.fix
  for (const [hop, shown, { node, nowMs }] of judged) {
    const problem = shown === null || shown.chainPem.length === 0 ? null : certificateProblem(shown, nowMs)
    if (problem?.isCause)
      found.causes.push(finding(problem.code, hop, node, `${detail}; ${problem.detail}`, { fix }))
  }
  found.risks.push(finding('CLOCKS_APART', 'destination', far.health.node, detail))
}

function checkListener({ listener }: InboundFacts, where: string, port: number, found: Found): void {
  if (listener === null || listener === 'listens') return
  const [detail, fix] =
    listener === 'silent'
      ? [`nobody listens on port ${port} of ${where}`, '']
      : [
          `whoever listens on port ${port} of ${where} does so on loopback only, where others do not reach it`,
          'let the application listen on all addresses of the pod (0.0.0.0 or ::)',
        ]
  found.causes.push(finding('ENDPOINT_REFUSED', 'application', where, detail, { fix }))
}

function checkTrust(outbound: OutboundFacts, inbound: InboundFacts, where: string, found: Found): void {
  const [caller, own] = [outbound.certificate, inbound.certificate]
  if (caller === null || own === null || caller.chainPem.length === 0 || own.chainPem.length === 0) return
  const detail = distrust(caller, own)
  if (detail !== '') found.causes.push(finding('CERT_INVALID', 'destination', where, detail))
}

/** Both ends are often of one node, and say the same of it. */
function distinct(findings: readonly PairFinding[]): readonly PairFinding[] {
  return [...new Map(findings.map((each) => [JSON.stringify(each), each])).values()]
}
