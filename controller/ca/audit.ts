// SPDX-License-Identifier: Apache-2.0
// One JSON line per signature, per refusal and per change made through admin, in a 0600 file that is only ever appended to. A disk that takes no more
// stops nobody: what could not be written is counted, and the next line that can be says how many are missing.
import { open } from 'node:fs/promises'
import { MeshError } from '../../mesh/errors/mesh-error.ts'
import type { ReasonCode } from '../../mesh/errors/reasons.ts'

/** Longest text of a field: it may quote what a caller sent. */
const MAX_AUDIT_FIELD = 512
/** Lines that wait for the disk; more are counted as lost. */
export const MAX_UNWRITTEN_LINES = 1_024

/** What a person did through the admin API. */
export type AdminEvent =
  | 'join-token-made'
  | 'join-token-revoked'
  | 'rotation-begun'
  | 'rotation-advanced'
  | 'rotation-cancelled'
  | 'certificate-revoked'
  | 'objects-written'

/** One event. */
export interface AuditEvent {
  readonly atMs: number
  readonly event: 'signed' | 'refused' | AdminEvent
  /** Who asked: `ns/sa`, `join token <id>`, … Empty: nobody who is known. */
  readonly account: string
  readonly node: string
  /** `address:port`. */
  readonly peer: string
  /** The identity that was signed or asked for. */
  readonly identity: string
  /** Decimal; of a signature. */
  readonly serialNumber?: string
  readonly notAfterMs?: number
  /** Why it was refused or failed; OK otherwise. */
  readonly reason: ReasonCode
  readonly detail?: string
}

/** Takes whole lines. @throws when a line was not or only partly written */
export interface AuditSink {
  append(line: string): Promise<void>
  close(): Promise<void>
}

/** Writes events, in their order. */
export class AuditLog {
  readonly #sink: AuditSink
  readonly #onLost: (count: number, cause: unknown) => void
  #tail: Promise<void> = Promise.resolve()
  #waiting = 0
  #lost = 0
  #untold = 0
  #isTorn = false

  /** `onLost` hears of every loss: for a metric and the log. */
  constructor(sink: AuditSink, onLost: (count: number, cause: unknown) => void = () => {}) {
    this.#sink = sink
    this.#onLost = onLost
  }

  /** Events that are in no file. */
  get lostCount(): number {
    return this.#lost
  }

  /** Done when the line is written or counted as lost. Never rejects. */
  write(event: AuditEvent): Promise<void> {
    if (this.#waiting >= MAX_UNWRITTEN_LINES) {
      this.#count(1, 'the disk is too slow')
      return Promise.resolve()
    }
    this.#waiting++
    this.#tail = this.#tail.then(() => this.#append(event)).finally(() => this.#waiting--)
    return this.#tail
  }

  /** Waits for what is under way and closes the sink. */
  async close(): Promise<void> {
    await this.#tail
    await this.#sink.close()
  }

  async #append(event: AuditEvent): Promise<void> {
    const missing = this.#untold
    const lines = missing > 0 ? [lossLine(event.atMs, missing), auditLine(event)] : [auditLine(event)]
    try {
      // After a half-written line a new one must not become its end.
      await this.#sink.append(`${this.#isTorn ? '\n' : ''}${lines.join('')}`)
      this.#isTorn = false
      this.#untold -= missing
    } catch (cause) {
      this.#isTorn = true
      this.#count(1, cause)
    }
  }

  #count(count: number, cause: unknown): void {
    this.#lost += count
    this.#untold += count
    this.#onLost(count, cause)
  }
}

/** An event as it is written: one line, whatever a caller sent. */
export function auditLine(event: AuditEvent): string {
  const { atMs, notAfterMs, ...rest } = event
  const bounded = Object.fromEntries(
    Object.entries(rest).map(([name, value]) => [
      name,
      typeof value === 'string' ? value.slice(0, MAX_AUDIT_FIELD).toWellFormed() : value,
    ]),
  )
  const times = notAfterMs === undefined ? {} : { notAfter: new Date(notAfterMs).toISOString() }
  return `${JSON.stringify({ at: new Date(atMs).toISOString(), ...bounded, ...times })}\n`
}

/** Opens the file, or makes it. @throws SYSTEM_CALL; CA_KEY when others may read or write it */
export async function openAuditFile(path: string): Promise<AuditSink> {
  try {
    const file = await open(path, 'a', 0o600)
    const facts = await file.stat()
    if (facts.isFile() && (facts.mode & 0o077) !== 0) {
      await file.close()
      throw new MeshError('CA_KEY', { detail: `${path} is open to others: chmod 600` })
    }
    return {
      append: async (line) => {
        const bytes = Buffer.from(line)
        const { bytesWritten } = await file.write(bytes)
        if (bytesWritten < bytes.length) throw new MeshError('SYSTEM_CALL', { detail: `${path}: disk full` })
      },
      close: () => file.close(),
    }
  } catch (cause) {
    if (cause instanceof MeshError) throw cause
    throw new MeshError('SYSTEM_CALL', { detail: `cannot open ${path}`, cause })
  }
}

function lossLine(atMs: number, count: number): string {
  return `${JSON.stringify({ at: new Date(atMs).toISOString(), event: 'lost', count })}\n`
}
