// SPDX-License-Identifier: Apache-2.0
// `/certificates`: what is stored, what every worker presents to the next peer, and what the open tunnels were made with.
import { type CertificateAlarm, certificateAlarm } from '../mesh/identity/certificate-alarm.ts'
import { type DumpedIdentity, dumpIdentity } from '../mesh/identity/certificate-view.ts'
import type { CertificateStatus } from '../mesh/identity/secret-manager.ts'
import { systemClock } from '../mesh/runtime/clock.ts'
import type { App } from './app.ts'
import type { TunnelCertificates } from './carry/tunnel-certificates.ts'

/** What one worker presents; '' : nothing. */
interface LiveCertificate {
  readonly worker: number
  readonly serialNumber: string
  /** It has not been the stored one for longer than a message takes. */
  readonly isAlarm: boolean
}

/** Tunnels of one identity that were made with the same two certificates. */
interface TunnelGroup {
  readonly worker: number
  readonly role: TunnelCertificates['role']
  readonly serialNumber: string
  readonly peer: string
  readonly peerSerialNumber: string
  readonly count: number
}

/** One identity as `/certificates` shows it. */
export interface CertificateReport extends DumpedIdentity {
  readonly use: 'workload' | 'node'
  readonly alarm: CertificateAlarm
  /** Serial number; null without a certificate. */
  readonly stored: string | null
  readonly live: readonly LiveCertificate[]
  readonly tunnels: readonly TunnelGroup[]
}

/** All certificates of the process, the node's own last. Asks the workers. */
export async function certificateReports(app: App): Promise<readonly CertificateReport[]> {
  const statuses = app.secrets.list()
  const [presented, tunnels] = await Promise.all([
    app.questions.ask('certificates'),
    app.questions.ask('tunnels'),
  ])
  const { mismatches } = app.certificateWatch
  const liveOf = (identity: string): readonly LiveCertificate[] =>
    presented
      .toSorted((left, right) => left.worker - right.worker)
      .map(({ worker, answer }) => ({
        worker,
        serialNumber: answer.find((each) => each.identity === identity)?.serialNumber ?? '',
        isAlarm: mismatches.some(
          (each) => each.worker === worker && each.identity === identity && each.isAlarm,
        ),
      }))
  const tunnelsOf = (identity: string): readonly TunnelGroup[] =>
    tunnels.flatMap(({ worker, answer }) =>
      answer
        .filter(({ own }) => own.identity === identity)
        .map(({ role, own, peer, count }) => ({
          ...{ worker, role, count, serialNumber: own.serialNumber },
          ...{ peer: peer.identity, peerSerialNumber: peer.serialNumber },
        })),
    )
  const reports = statuses.map((status) => ({
    ...describe(status, 'workload'),
    live: liveOf(status.identity),
    tunnels: tunnelsOf(status.identity),
  }))
  const node = app.sources.nodeCertificate()
  return node === null ? reports : [...reports, { ...describe(node, 'node'), live: [], tunnels: [] }]
}

function describe(
  status: CertificateStatus,
  use: CertificateReport['use'],
): Omit<CertificateReport, 'live' | 'tunnels'> {
  const alarm = certificateAlarm(status, systemClock.nowMs)
  return { ...dumpIdentity(status), use, alarm, stored: status.certificate?.serialNumber ?? null }
}
