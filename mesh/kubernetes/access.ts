// SPDX-License-Identifier: Apache-2.0
// How a process reaches an apiserver: an address, certificates, and who it says it is. All of it may change while it runs.
import type { RequestOptions } from 'node:https'

/** How the next request is made. */
export interface ApiserverAccess {
  /** `https://host:port`, perhaps with a path. */
  readonly server: string
  /** Certificates, and headers that say who asks. */
  readonly options: RequestOptions
}

/** Where that comes from. */
export interface AccessSource {
  /** Asked before every request. @throws Error when there is none */
  read(): Promise<ApiserverAccess>
  /** The apiserver refused what was read last, or was not there: reads everything anew. Never throws. */
  reload(): void
}
