// SPDX-License-Identifier: Apache-2.0
// Hears that somebody has changed the nf_tables of a namespace: not what, only that. On ordinary main threads.
// SPEC linux/netfilter/nfnetlink.h: group NFNLGRP_NFTABLES. Changes by the older iptables are not told there.
import { MeshError } from '../../errors/mesh-error.ts'
import { DescriptorPoll } from '../descriptor-poll.ts'
import type { NetworkNamespace } from '../netns.ts'
import { NETLINK_NETFILTER, NetlinkConnection } from './connection.ts'

const NFNLGRP_NFTABLES = 7
/** Datagrams read before others get their turn. */
const MAX_DATAGRAMS = 16

/** One listener. Owns its descriptor; keeps the event loop alive. */
export class TableEvents {
  readonly #connection: NetlinkConnection
  readonly #onChanged: () => void

  /** @throws NAMESPACE_GONE, MISSING_CAPABILITY, OUT_OF_DESCRIPTORS, SYSTEM_CALL */
  constructor(namespace: NetworkNamespace, onChanged: () => void) {
    this.#onChanged = onChanged
    this.#connection = NetlinkConnection.open(NETLINK_NETFILTER, namespace)
    try {
      this.#connection.join(NFNLGRP_NFTABLES)
      DescriptorPoll.shared().watch(this.#connection.fd, () => this.#read())
    } catch (error) {
      this.#connection.close()
      throw error
    }
  }

  /** Idempotent. */
  close(): void {
    if (this.#connection.fd < 0) return
    DescriptorPoll.shared().unwatch(this.#connection.fd)
    this.#connection.close()
  }

  #read(): void {
    try {
      for (let count = 0; count < MAX_DATAGRAMS; count++)
        if (this.#connection.takeSent('changes of tables') === null) break
    } catch (error) {
      // More came than was read, or it is not understood: something has changed all the same.
      if (!(error instanceof MeshError)) throw error
    }
    this.#onChanged()
  }
}
