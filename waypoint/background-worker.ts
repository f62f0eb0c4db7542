// SPDX-License-Identifier: Apache-2.0
// Entry of the data process's transient thread: keys and certificate requests, which need a large library. Private keys never
// leave the process, of which this is a thread.
import { isMainThread } from 'node:worker_threads'
import type { CertificateOwner, WorkloadCertificate } from '../mesh/identity/certificate.ts'
import { type BegunRequest, certificateRequests } from '../mesh/identity/certificate-requests.ts'
import { type Methods, serveMethods } from '../mesh/runtime/transient-worker.ts'
import type { SealedPlace } from '../mesh/snapshot/read-frames.ts'
import type { SealedEnd } from '../mesh/snapshot/write-sealed.ts'

const methods = {
  begin(identity: string): Promise<BegunRequest> {
    return certificateRequests.begin(identity)
  },
  finish(owner: CertificateOwner, chain: readonly string[], nowMs: number): Promise<WorkloadCertificate> {
    return certificateRequests.finish(owner, chain, nowMs)
  },
  async compactJournal(
    place: SealedPlace,
    lastMac: Uint8Array,
  ): Promise<SealedEnd & { readonly path: string }> {
    const { compactJournal } = await import('../mesh/snapshot/compact-journal.ts')
    return compactJournal({ ...place, key: Buffer.from(place.key) }, lastMac)
  },
} satisfies Methods

/** What the thread can be asked. */
export type BackgroundMethods = typeof methods

// The warm-up imports this file only to have it in the compile cache.
if (!isMainThread) serveMethods(methods)
