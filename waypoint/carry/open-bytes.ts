// SPDX-License-Identifier: Apache-2.0
// What a worker carries as bytes, by what was asked for: connections, and requests that changed to another protocol. When its
// policies change, those that would not be let in any more are ended. Other requests are asked about when they come.

/** What can be asked about again. */
export interface OpenBytes {
  readonly authority: string
  /** The target has changed: still allowed? */
  recheck(): void
}

export class OpenBytesByTarget {
  readonly #open = new Map<string, Set<OpenBytes>>()

  add(connection: OpenBytes): void {
    const { authority } = connection
    const own = this.#open.get(authority)
    if (own === undefined) this.#open.set(authority, new Set([connection]))
    else own.add(connection)
  }

  delete(connection: OpenBytes): void {
    const own = this.#open.get(connection.authority)
    own?.delete(connection)
    if (own?.size === 0) this.#open.delete(connection.authority)
  }

  /** What is known of the target is another version. */
  onChanged(authority: string): void {
    for (const connection of [...(this.#open.get(authority) ?? [])]) connection.recheck()
  }
}
