// SPDX-License-Identifier: Apache-2.0
// A table of ours in the network namespace of the node: made, mended and taken away as a whole.
import { isDeepStrictEqual } from 'node:util'
import { MeshError } from '../../../mesh/errors/mesh-error.ts'
import { NETLINK_NETFILTER, NetlinkConnection } from '../../../mesh/reactor/netlink/connection.ts'
import {
  deleteTables,
  type InstalledRule,
  type NfTable,
  type NfTableName,
  readGeneration,
  readRules,
  readTable,
  replaceTables,
  withoutState,
} from '../../../mesh/reactor/netlink/nf-tables.ts'
import { NetworkNamespace } from '../../../mesh/reactor/netns.ts'
import type { Log } from '../../../mesh/runtime/log.ts'

/** What a table is, and for whom. */
export interface HostTableOptions {
  /** Network namespace of the node. */
  readonly path: string
  readonly table: NfTableName
  readonly log: Log
  /** What is wrong while it cannot be written, for the log. */
  readonly complaint: string
}

/** Rules by chain, with what they have counted. */
export type StandingRules = ReadonlyMap<string, readonly InstalledRule[]>

export class HostTable {
  readonly #options: HostTableOptions
  #wanted: NfTable | null = null
  /** Generation of the namespace's tables at which it was found to be `#wanted`; null: not known. */
  #wholeGeneration: number | null = null
  #lastFailure = ''

  constructor(options: HostTableOptions) {
    this.#options = options
  }

  /**
   * Makes the table `wanted`, if it is not; null: there is to be none. `onStanding` sees first what stands there. True when
   * it was written. Never throws: what failed is tried again by the next call.
   */
  sync(wanted: NfTable | null, onStanding?: (rules: StandingRules) => void): boolean {
    try {
      const isWritten = this.#inHost((connection) => {
        onStanding?.(readRules(connection, this.#options.table))
        return this.#write(connection, wanted)
      })
      this.#lastFailure = ''
      return isWritten
    } catch (error) {
      if (!(error instanceof MeshError)) throw error
      const { code, detail } = error
      if (detail !== this.#lastFailure)
        this.#options.log.warn({ reason: code, detail }, this.#options.complaint)
      this.#lastFailure = detail
      return false
    }
  }

  #inHost<T>(action: (connection: NetlinkConnection) => T): T {
    const namespace = NetworkNamespace.open(this.#options.path)
    try {
      return NetlinkConnection.use(NETLINK_NETFILTER, namespace, action)
    } finally {
      namespace.close()
    }
  }

  #write(connection: NetlinkConnection, wanted: NfTable | null): boolean {
    const { table } = this.#options
    const generation = readGeneration(connection)
    const isUntouched = generation !== null && generation === this.#wholeGeneration
    if (isUntouched && isDeepStrictEqual(wanted, this.#wanted)) return false
    const found = readTable(connection, table)
    const isWhole = isDeepStrictEqual(found === null ? null : withoutState(found), wanted)
    this.#wanted = wanted
    this.#wholeGeneration = isWhole ? generation : null
    if (isWhole) return false
    if (wanted === null) deleteTables(connection, [table])
    else replaceTables(connection, [wanted])
    return true
  }
}
