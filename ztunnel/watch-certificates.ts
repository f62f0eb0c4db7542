// SPDX-License-Identifier: Apache-2.0
// What the watch of certificates looks at in the data process, and how a worker is sent one.
import type { WorkloadCertificate } from '../mesh/identity/certificate.ts'
import { systemClock } from '../mesh/runtime/clock.ts'
import type { App } from './app.ts'
import { CertificateWatch } from './certificate-watch.ts'
import type { DownMessage } from './worker-messages.ts'

/** The watch over stored certificates and those that workers present. */
export function watchCertificates(app: App): CertificateWatch {
  return new CertificateWatch({
    workloads: () => app.secrets.list(),
    node: () => app.sources.nodeCertificate(),
    isRevoked: (certificate) => app.revocations.isRevoked(certificate),
    renew: (identity) => app.secrets.renew(identity),
    live: async () =>
      (await app.questions.ask('certificates')).map(({ worker, answer }) => ({
        worker,
        serialNumbers: new Map(answer.map(({ identity, serialNumber }) => [identity, serialNumber])),
      })),
    resend: (worker, identity) => {
      const certificate = app.secrets.current(identity)
      if (certificate !== undefined) app.workers.post(worker, certificateMessage(certificate))
    },
    clock: systemClock,
    monotonicMs: () => performance.now(),
    log: app.log,
  })
}

export function certificateMessage(certificate: WorkloadCertificate): DownMessage {
  const { identity, chainPem, privateKeyPem, rootsPem, trustBundleId } = certificate
  return { type: 'certificate', identity, chainPem, privateKeyPem, rootsPem, trustBundleId }
}
