// SPDX-License-Identifier: Apache-2.0
// The watch over real workers with real certificates, of which one does not get a renewal: what is stored is then not
// what is presented. Time is the test's.
import { pino } from 'pino'
import t, { type Test } from 'tap'
import type { WorkloadCertificate } from '../../mesh/identity/certificate.ts'
import { certificateRequests } from '../../mesh/identity/certificate-requests.ts'
import { EmbeddedAuthority } from '../../mesh/identity/embedded-authority.ts'
import type { CertificateStatus } from '../../mesh/identity/secret-manager.ts'
import { CERTIFICATE_CHECK_MS, CertificateWatch } from '../../ztunnel/certificate-watch.ts'
import { LIVE_GRACE_MS, type LiveCertificates } from '../../ztunnel/live-certificates.ts'
import { WorkerQuestions } from '../../ztunnel/worker-reports.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { WorkerLab } from '../support/worker-lab.ts'

const CART = 'spiffe://cluster.local/ns/shop/sa/cart'
const NODE = 'spiffe://cluster.local/ns/sidestep/sa/node-n1'
const HOUR_MS = 3_600_000

function statusOf(identity: string, certificate: CertificateStatus['certificate']): CertificateStatus {
  const failures = { reason: '', renewalFailures: 0, failingSinceMs: null, renewalDueMs: null }
  return { identity, state: 'Available', ...failures, certificate }
}

/** What a watch says, without workers. */
function watchOf(parts: {
  readonly workloads: () => readonly CertificateStatus[]
  readonly node?: () => CertificateStatus | null
  readonly live?: () => Promise<readonly LiveCertificates[]>
  readonly resend?: (worker: number, identity: string) => void
  readonly isRevoked?: (certificate: WorkloadCertificate) => boolean
  readonly renew?: (identity: string) => void
  readonly clock?: ManualClock
}) {
  const logged: Readonly<Record<string, unknown>>[] = []
  const clock = parts.clock ?? new ManualClock()
  const watch = new CertificateWatch({
    ...{ node: () => null, live: async () => [], resend: () => {}, isRevoked: () => false, renew: () => {} },
    ...parts,
    ...{ clock, monotonicMs: () => clock.nowMs },
    log: pino({}, { write: (line: string) => void logged.push(JSON.parse(line)) }),
  })
  return { watch, logged, clock }
}

async function issued(t: Test, count: number): Promise<WorkloadCertificate[]> {
  const clock = new ManualClock(Date.now())
  const authority = await EmbeddedAuthority.open({
    ...{ directory: t.testdir({}), trustDomain: 'cluster.local', clock },
  })
  return Promise.all(
    Array.from({ length: count }, async () => {
      const { owner, csrPem } = await certificateRequests.begin(CART)
      const chain = await authority.issue(CART, csrPem, 86_400)
      return certificateRequests.finish(owner, chain, clock.nowMs)
    }),
  )
}

t.test('a renewal that one worker never got is an alarm, and is sent again', async (t) => {
  const [first, second] = await issued(t, 2)
  if (first === undefined || second === undefined) throw new Error('no certificates')
  const lab = new WorkerLab(t)
  const questions = new WorkerQuestions(lab.set)
  lab.onReport = (worker, request, answer) => questions.onAnswer(worker, request, answer)
  lab.set.start()
  await lab.serving()
  const send = (worker: number, { identity, ...rest }: WorkloadCertificate): void => {
    const { chainPem, privateKeyPem, rootsPem, trustBundleId } = rest
    const material = { chainPem, privateKeyPem, rootsPem, trustBundleId }
    lab.set.post(worker, { type: 'certificate', identity, ...material })
  }
  let stored = first
  const resent: number[] = []
  let canResend = false
  const { watch, logged, clock } = watchOf({
    workloads: () => [statusOf(CART, stored)],
    live: async () =>
      (await questions.ask('certificates')).map(({ worker, answer }) => ({
        worker,
        serialNumbers: new Map(answer.map(({ identity, serialNumber }) => [identity, serialNumber])),
      })),
    resend: (worker) => {
      resent.push(worker)
      if (canResend) send(worker, stored)
    },
  })
  for (const worker of [0, 1]) send(worker, first)
  await watch.check()
  t.same(watch.mismatches, [], 'both present what is stored')

  stored = second
  send(0, second) // the message to worker 1 is lost
  await watch.check()
  t.match(watch.mismatches, [{ worker: 1, stored: second.serialNumber, live: first.serialNumber }])
  t.equal(watch.mismatches.length, 1)
  t.equal(watch.counts()['not-live'], 0, 'not at once: messages take their time')
  t.same(resent, [])
  clock.advance(LIVE_GRACE_MS)
  await watch.check()
  await watch.check()
  t.equal(watch.counts()['not-live'], 1)
  t.same(resent, [1, 1])
  const told = logged.filter(({ reason }) => reason === 'CERT_NOT_LIVE')
  t.equal(told.length, 1, 'told once')
  t.match(told[0], { level: 50, count: 1 })

  canResend = true
  await watch.check()
  await watch.check()
  t.same(watch.mismatches, [])
  t.equal(watch.counts()['not-live'], 0)
  t.equal(logged.at(-1)?.msg, 'all workers present what is stored')
})

t.test('a renewal that fails is told with growing urgency, once per level', async (t) => {
  const clock = new ManualClock()
  const [real] = await issued(t, 1)
  if (real === undefined) throw new Error('no certificate')
  const startMs = clock.nowMs
  const certificate = { ...real, notBeforeMs: startMs, notAfterMs: startMs + 24 * HOUR_MS }
  let failing: Partial<CertificateStatus> = {}
  const due = { renewalDueMs: startMs + 12 * HOUR_MS }
  const cart = (): CertificateStatus => ({ ...statusOf(CART, certificate), ...due, ...failing })
  const node = (): CertificateStatus => ({ ...cart(), identity: NODE })
  const { watch, logged } = watchOf({ workloads: () => [cart()], node, clock })
  const at = async (hours: number) => {
    clock.advance(startMs + hours * HOUR_MS - clock.nowMs)
    logged.length = 0
    await watch.check()
    await watch.check()
    return logged.map(({ level, alarm, count }) => [level, alarm, count])
  }
  t.same(await at(12), [])
  failing = { reason: 'CERT_UNAVAILABLE: down', renewalFailures: 7, failingSinceMs: startMs + 12 * HOUR_MS }
  t.same(await at(13), [], 'failures that are young')
  t.same(await at(14), [[40, 'late', 2]])
  t.match(logged[0], {
    ...{ reason: 'CERT_NOT_RENEWED', renewalFailures: 7, lastFailure: 'CERT_UNAVAILABLE: down' },
    ...{ failingSince: '2026-01-01T12:00:00.000Z', expires: '2026-01-02T00:00:00.000Z' },
  })
  t.same(logged[0]?.identities, [CART, NODE], 'the node’s own too')
  t.same(await at(19), [[50, 'urgent', 2]])
  t.same(await at(22), [[50, 'critical', 2]])
  t.equal(watch.counts().critical, 2)
  t.same(await at(24), [[50, 'expired', 2]])
  failing = { renewalDueMs: clock.nowMs + HOUR_MS }
  Object.assign(certificate, { notAfterMs: clock.nowMs + 2 * HOUR_MS })
  t.same(await at(24.5), [[30, undefined, 2]])
  t.same(
    Object.values(watch.counts()).filter((count) => count > 0),
    [],
  )
})

t.test('a revoked certificate is told once, and another one is asked for once', async (t) => {
  const [first, second] = await issued(t, 2)
  if (first === undefined || second === undefined) throw new Error('no certificates')
  let stored = first
  const revoked = new Set<WorkloadCertificate>()
  const renewed: string[] = []
  const { watch, logged } = watchOf({
    workloads: () => [statusOf(CART, stored)],
    isRevoked: (certificate) => revoked.has(certificate),
    renew: (identity) => renewed.push(identity),
    clock: new ManualClock(Date.now()),
  })
  await watch.check()
  t.same([renewed, watch.counts().revoked], [[], 0])
  revoked.add(first)
  t.equal(watch.counts().revoked, 1, 'by the list of now')
  await watch.check()
  await watch.check()
  t.same(renewed, [CART])
  t.equal(logged.length, 1)
  t.match(logged[0], {
    ...{ level: 50, reason: 'CERT_REVOKED', count: 1 },
    certificates: [{ identity: CART, serialNumber: first.serialNumber }],
  })
  stored = second
  await watch.check()
  t.match(logged.at(-1), { level: 30, msg: /no certificate of this node is revoked/ })
  revoked.add(second)
  await watch.check()
  t.same(renewed, [CART, CART], 'the next one too')
})

t.test('it looks by itself, also after a look that failed, until it is closed', async (t) => {
  let looks = 0
  let looked = (): void => {}
  const { watch, logged, clock } = watchOf({
    workloads: () => [],
    live: async () => {
      looks++
      looked()
      if (looks === 1) throw new Error('no worker')
      return []
    },
  })
  const nextLook = async (): Promise<void> => {
    const done = new Promise<void>((resolve) => (looked = resolve))
    while (clock.pendingCount === 0) await new Promise<void>((resolve) => setImmediate(resolve))
    clock.advance(CERTIFICATE_CHECK_MS)
    await done
  }
  watch.start()
  await nextLook()
  await nextLook()
  t.equal(looks, 2)
  t.match(logged[0], { level: 50, err: { message: 'no worker' } })
  watch.close()
  clock.advance(10 * CERTIFICATE_CHECK_MS)
  await new Promise<void>((resolve) => setImmediate(resolve))
  t.equal(looks, 2)
})
