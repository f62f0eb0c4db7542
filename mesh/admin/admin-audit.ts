// SPDX-License-Identifier: Apache-2.0
// Whoever changes something through the admin API leaves a line in the log: what was asked, what became of it, and which
// process asked, as the kernel knows it.
import type { Socket } from 'node:net'
import { peerCredentials } from '../reactor/channel-sockets.ts'
import type { Log } from '../runtime/log.ts'

/** Of what a caller wrote, in the log. */
const MAX_ASKED_LENGTH = 200

/** A change that somebody asked for. */
export interface AdminChange {
  /** Path of the route without its slash: `logging`, `upgrade`, `quitquitquit`. */
  readonly name: string
  readonly query: URLSearchParams
  /** Of the answer: 200 when it is done, or has begun. */
  readonly status: number
}

/** Writes the line, whatever level the log has: one that is made quiet must not hide who did it. */
export function auditChange(log: Log, { name, query, status }: AdminChange, socket: Socket): void {
  const fields = {
    audit: name,
    asked: query.toString().slice(0, MAX_ASKED_LENGTH),
    status,
    ...callerOf(socket),
  }
  log.child({}, { level: 'warn' }).warn(fields, 'somebody changes something through admin')
}

/** User and process at the other end of a Unix socket, as seen from here; nothing where the kernel does not say. */
function callerOf(socket: Socket): { readonly uid?: number; readonly pid?: number } {
  // as: Node has no public way to the descriptor of a socket
  const { _handle: handle } = socket as unknown as { readonly _handle?: { readonly fd?: number } | null }
  if (handle?.fd === undefined || handle.fd < 0 || socket.remoteAddress !== undefined) return {}
  try {
    const { uid, pid } = peerCredentials(handle.fd)
    return { uid, pid }
  } catch {
    return {}
  }
}
