// SPDX-License-Identifier: Apache-2.0
// Follows the connection records that the ztunnels append to their files.
import { type FileHandle, open } from 'node:fs/promises'
import type { ReasonCode } from '../mesh/errors/reasons.ts'
import { REASONS } from '../mesh/errors/reasons.ts'

const POLL_MS = 50
const READ_BYTES = 65_536

/** What the demo shows of a record. Empty text = not said. */
export interface DemoRecord {
  readonly node: string
  readonly time: string
  readonly direction: 'outbound' | 'inbound'
  readonly reason: ReasonCode
  /** HBONE: inside mTLS. TCP: as plain text. */
  readonly transport: 'HBONE' | 'TCP'
  readonly sourceAddress: string
  readonly sourceWorkload: string
  readonly sourceIdentity: string
  readonly destinationAddress: string
  /** What the tunnel asked for, or the other end of the tunnel. */
  readonly hboneAddress: string
  readonly destinationWorkload: string
  readonly destinationIdentity: string
  readonly service: string
  readonly policy: string
  readonly detail: string
  readonly fix: string
  readonly bytesSent: number
  readonly bytesReceived: number
  readonly durationMs: number
}

/** Reads one line; null when it is no record. */
export function parseRecord(node: string, line: string): DemoRecord | null {
  let fields: Record<string, unknown>
  try {
    fields = JSON.parse(line) as Record<string, unknown> // as: checked field by field below
  } catch {
    return null
  }
  const text = (name: string): string => (typeof fields[name] === 'string' ? fields[name] : '')
  const number = (name: string): number => (typeof fields[name] === 'number' ? fields[name] : 0)
  const reason = text('reason')
  if (!Object.hasOwn(REASONS, reason)) return null
  return {
    node,
    time: text('time'),
    direction: text('direction') === 'inbound' ? 'inbound' : 'outbound',
    reason: reason as ReasonCode, // as: a key of REASONS
    transport: text('transport') === 'HBONE' ? 'HBONE' : 'TCP',
    sourceAddress: text('src.addr'),
    sourceWorkload: text('src.workload'),
    sourceIdentity: text('src.identity'),
    destinationAddress: text('dst.addr'),
    hboneAddress: text('dst.hbone_addr'),
    destinationWorkload: text('dst.workload'),
    destinationIdentity: text('dst.identity'),
    service: text('dst.service'),
    policy: text('policy'),
    detail: text('detail'),
    fix: text('fix'),
    bytesSent: number('bytes_sent'),
    bytesReceived: number('bytes_recv'),
    durationMs: number('duration_ms'),
  }
}

/** One followed file; it may appear later. */
export class RecordTail {
  readonly #node: string
  readonly #path: string
  readonly #onRecord: (record: DemoRecord) => void
  readonly #buffer = Buffer.allocUnsafe(READ_BYTES)
  #file: FileHandle | null = null
  #partial = ''
  #timer: NodeJS.Timeout | null = null
  #looking: Promise<void> = Promise.resolve()

  constructor(node: string, path: string, onRecord: (record: DemoRecord) => void) {
    this.#node = node
    this.#path = path
    this.#onRecord = onRecord
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.#looking = this.#looking.then(() => this.#look())
    }, POLL_MS)
  }

  async close(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer)
    await this.#looking
    await this.#file?.close()
    this.#file = null
  }

  async #look(): Promise<void> {
    this.#file ??= await open(this.#path, 'r').catch(() => null)
    while (this.#file !== null) {
      const { bytesRead } = await this.#file.read(this.#buffer, 0, READ_BYTES)
      if (bytesRead === 0) return
      // latin1 keeps bytes apart until the line is whole; records of the demo are ASCII anyway.
      const lines = (this.#partial + this.#buffer.toString('latin1', 0, bytesRead)).split('\n')
      this.#partial = lines.pop() ?? ''
      for (const line of lines) {
        const record = parseRecord(this.#node, line)
        if (record !== null) this.#onRecord(record)
      }
    }
  }
}
