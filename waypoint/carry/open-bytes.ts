// SPDX-License-Identifier: Apache-2.0
// Connections of a worker that are carried as bytes, by what they asked for: when its policies change, those that would not be
// let in any more are ended. Requests need no such thing: each is asked about when it comes.

/** A connection that can be asked about again. */
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
