// SPDX-License-Identifier: Apache-2.0
// Entry of the data process's transient thread: certificates and configuration files, the two things that need large
// libraries. Private keys never leave the process, of which this is a thread.
import { isMainThread } from 'node:worker_threads'
import type { CertificateOwner, WorkloadCertificate } from '../mesh/identity/certificate.ts'
import { type BegunRequest, certificateRequests } from '../mesh/identity/certificate-requests.ts'
import { EmbeddedAuthority } from '../mesh/identity/embedded-authority.ts'
import {
  type ConfigFindings,
  type LocalConfig,
  type LocalConfigOptions,
  parseLocalConfig,
} from '../mesh/model/local-config.ts'
import { systemClock } from '../mesh/runtime/clock.ts'
import { type Methods, serveMethods } from '../mesh/runtime/transient-worker.ts'
import type { SealedPlace } from '../mesh/snapshot/read-frames.ts'
import type { SealedEnd } from '../mesh/snapshot/write-sealed.ts'

let authority: Promise<EmbeddedAuthority> | null = null

function openAuthority(directory: string, trustDomain: string): Promise<EmbeddedAuthority> {
  authority ??= EmbeddedAuthority.open({ directory, trustDomain, clock: systemClock })
  return authority
}

const methods = {
  /** Checks that the CA of the directory can be used; makes it if there is none. */
  async openCa(directory: string, trustDomain: string): Promise<void> {
    await openAuthority(directory, trustDomain)
  },
  async issue(
    ca: { readonly directory: string; readonly trustDomain: string },
    identity: string,
    csrPem: string,
    ttlSeconds: number,
  ): Promise<readonly string[]> {
    const { directory, trustDomain } = ca
    return (await openAuthority(directory, trustDomain)).issue(identity, csrPem, ttlSeconds)
  },
  begin(identity: string): Promise<BegunRequest> {
    return certificateRequests.begin(identity)
  },
  finish(owner: CertificateOwner, chain: readonly string[], nowMs: number): Promise<WorkloadCertificate> {
    return certificateRequests.finish(owner, chain, nowMs)
  },
  parseConfig(text: string, options: LocalConfigOptions): LocalConfig | ConfigFindings {
    return parseLocalConfig(text, options)
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
