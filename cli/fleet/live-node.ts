// SPDX-License-Identifier: Apache-2.0
// A running ztunnel, asked by its admin API over whatever carries the question there.
import { request } from 'node:http'
import type { InboundAsked, InboundFacts } from '../../ztunnel/decide/inbound-facts.ts'
import type { OutboundFacts, PairAsked } from '../../ztunnel/decide/outbound-facts.ts'
import type { PodFacts } from '../../ztunnel/decide/pod-facts.ts'
import { CliError, EXIT_UNREACHABLE } from '../exit-codes.ts'
import type { FleetNode } from './fleet.ts'

/** What a node answered. */
export interface NodeAnswer {
  readonly status: number
  readonly body: string
}

/** Carries one question to a node. @throws Error when it cannot */
export type AskNode = (method: 'GET' | 'POST', path: string) => Promise<NodeAnswer>

/** Opens what a node goes on answering, until `signal`. @throws Error when it cannot */
export type StreamNode = (path: string, signal: AbortSignal) => Promise<NodeStream>

/** An answer that goes on. */
export interface NodeStream {
  readonly status: number
  readonly body: AsyncIterable<Buffer>
}

/** How a node is reached. */
export interface NodeAccess {
  readonly ask: AskNode
  readonly stream: StreamNode
}

/** A node that is silent for longer does not answer. */
const ANSWER_TIMEOUT_MS = 5_000
/** The configuration of a mesh of 10,000 pods has some 20 MB. */
const MAX_ANSWER_BYTES = 256 * 1024 * 1024
const OK = 200

/** A node that runs. */
export function liveNode(label: string, { ask, stream }: NodeAccess): FleetNode {
  const body = async (method: 'GET' | 'POST', path: string): Promise<string> => {
    const answer = await ask(method, path).catch((error: unknown) => {
      const cause = error instanceof Error ? error.message : String(error)
      throw new CliError(EXIT_UNREACHABLE, `${label} does not answer: ${cause}`, error)
    })
    if (answer.status === OK) return answer.body
    throw new CliError(EXIT_UNREACHABLE, `${label} refuses ${path}: ${answer.status} ${answer.body.trim()}`)
  }
  async function* opened(path: string, signal: AbortSignal): AsyncGenerator<Buffer> {
    try {
      const { status, body: chunks } = await stream(path, signal)
      if (status === OK) yield* chunks
      else {
        const said: Buffer[] = []
        for await (const chunk of chunks) said.push(chunk)
        const text = Buffer.concat(said).toString('utf8').trim()
        throw new CliError(EXIT_UNREACHABLE, `${label} refuses ${path}: ${status} ${text}`)
      }
    } catch (error) {
      if (signal.aborted) return
      if (error instanceof CliError) throw error
      const cause = error instanceof Error ? error.message : String(error)
      throw new CliError(EXIT_UNREACHABLE, `${label} does not go on: ${cause}`, error)
    }
  }
  return {
    label,
    name: async () => (JSON.parse(await body('GET', '/node')) as { node: string }).node, // as: our API
    read: (path) => body('GET', path),
    stream: opened,
    post: (path) => body('POST', path),
    async outbound({ source, destination, port }: PairAsked) {
      const query = new URLSearchParams({ source, destination, port: String(port) })
      return JSON.parse(await body('GET', `/explain-outbound?${query}`)) as OutboundFacts // as: our API
    },
    async inbound({ uid, ip, port, sourceIps, identity }: InboundAsked) {
      const query = new URLSearchParams({ uid, ip, port: String(port), identity })
      for (const each of sourceIps) query.append('source', each)
      return JSON.parse(await body('GET', `/explain-inbound?${query}`)) as InboundFacts // as: our API
    },
    async pod(name) {
      const query = new URLSearchParams({ name })
      return JSON.parse(await body('GET', `/pod?${query}`)) as readonly PodFacts[] // as: our API
    },
  }
}

/** Over a Unix socket, or over TCP where somebody forwards a port to one: `/run/…/ztunnel.sock`, `127.0.0.1:9000`. */
export function reachAddress(address: string): NodeAccess {
  const port = /^(\[[0-9a-f:.]+\]|[^/:]+):(\d{1,5})$/i.exec(address)
  const where =
    port === null
      ? { socketPath: address }
      : { host: (port[1] ?? '').replace(/[[\]]/g, ''), port: Number(port[2]) }
  const ask: AskNode = (method, path) =>
    new Promise((resolve, reject) => {
      const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS)
      const asked = request({ ...where, method, path, agent: false, signal }, (answer) => {
        const chunks: Buffer[] = []
        let length = 0
        answer.on('data', (chunk: Buffer) => {
          length += chunk.length
          if (length > MAX_ANSWER_BYTES) answer.destroy(new Error(`more than ${MAX_ANSWER_BYTES} bytes`))
          else chunks.push(chunk)
        })
        answer.on('error', reject)
        answer.on('end', () =>
          resolve({ status: answer.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }),
        )
      })
      asked.on('error', reject)
      asked.end()
    })
  const stream: StreamNode = (path, signal) =>
    new Promise((resolve, reject) => {
      const asked = request({ ...where, path, agent: false, signal }, (answer) =>
        resolve({ status: answer.statusCode ?? 0, body: answer }),
      )
      asked.on('error', reject)
      asked.end()
    })
  return { ask, stream }
}
