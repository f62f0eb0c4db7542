// SPDX-License-Identifier: Apache-2.0
// The ztunnels of a cluster. Their admin API is a Unix socket that only their own user opens, so a question runs in the pod,
// by the apiserver's exec: who may ask is decided by the cluster's own rights (`create` on `pods/exec`), and its audit log
// has every question. No kubectl is needed.
import { PassThrough, Writable } from 'node:stream'
import { CoreV1Api, Exec, KubeConfig, type V1Pod, type V1Status } from '@kubernetes/client-node'
import { parseIp } from '../../mesh/net/address.ts'
import { CliError, EXIT_UNREACHABLE, EXIT_USAGE } from '../exit-codes.ts'
import type { Fleet, FleetNode } from './fleet.ts'
import { type AskNode, liveNode, type NodeAnswer, type StreamNode } from './live-node.ts'

/** Which cluster. Empty: the usual one. */
export interface ClusterAsked {
  readonly kubeconfig: string
  readonly context: string
}

/** As daemonset.yaml has it. */
const ZTUNNEL_LABEL = 'app=ztunnel'
const CONTAINER = 'ztunnel'
/** Longer than a node of its own takes: a process starts there for every question. */
const EXEC_TIMEOUT_MS = 20_000
/** The configuration of a mesh of 10,000 pods has some 20 MB. */
const MAX_EXEC_BYTES = 256 * 1024 * 1024
const MAX_UNREAD_BYTES = 16 * 1024 * 1024 // of an answer that goes on; beyond it the command ends

// Runs in the ztunnel's container, where there is Node and nothing else: one request, its answer to stdout. What varies
// arrives as arguments, never as code.
const ASK_SCRIPT = `
const [method, path] = process.argv.slice(1)
const socketPath = process.env.SIDESTEP_ADMIN_SOCKET || '/run/sidestep/admin.sock'
const asked = require('http').request({ socketPath, method, path, agent: false }, (answer) => {
  process.stdout.write(answer.statusCode + '\\n')
  answer.pipe(process.stdout)
})
asked.on('error', (error) => { process.stderr.write(error.message); process.exitCode = 1 })
asked.end()
`

/** Opens it. @throws CliError when there is no such cluster, or no ztunnel in it */
export async function openCluster(asked: ClusterAsked): Promise<Fleet> {
  const config = loadConfig(asked)
  const api = config.makeApiClient(CoreV1Api)
  const failed = (error: unknown): never => {
    const text = error instanceof Error ? error.message : String(error)
    throw new CliError(EXIT_UNREACHABLE, `the apiserver does not tell the pods: ${text}`, error)
  }
  const { items } = await api.listPodForAllNamespaces({ labelSelector: ZTUNNEL_LABEL }).catch(failed)
  const running = items.filter(
    ({ status, metadata }) => status?.phase === 'Running' && !metadata?.deletionTimestamp,
  )
  if (running.length === 0) throw new CliError(EXIT_UNREACHABLE, 'no ztunnel runs in this cluster')
  const byNode = new Map<string, FleetNode>()
  for (const pod of running) {
    const label = pod.spec?.nodeName ?? ''
    byNode.set(label, {
      ...liveNode(label, { ask: askByExec(config, pod), stream: streamByExec(config, pod) }),
      name: async () => label,
    })
  }
  const nodes = [...byNode.values()]
  return {
    nodes,
    async nodesOf(name) {
      const nodeName = await nodeNameOf(api, name).catch(failed)
      const node = byNode.get(nodeName)
      return node === undefined ? nodes : [node]
    },
  }
}

function loadConfig({ kubeconfig, context }: ClusterAsked): KubeConfig {
  const config = new KubeConfig()
  try {
    if (kubeconfig === '') config.loadFromDefault()
    else config.loadFromFile(kubeconfig)
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error)
    throw new CliError(EXIT_USAGE, `the kubeconfig cannot be read: ${text}`, error)
  }
  if (context !== '') {
    if (config.getContextObject(context) === null)
      throw new CliError(EXIT_USAGE, `the kubeconfig has no context ${context}`)
    config.setCurrentContext(context)
  }
  if (config.getCurrentCluster() === null) throw new CliError(EXIT_USAGE, 'the kubeconfig names no cluster')
  return config
}

/** The node of a pod; '' when the apiserver knows no one pod of that name or address. */
async function nodeNameOf(api: CoreV1Api, name: string): Promise<string> {
  const [first = '', second] = name.split('/')
  const ip = parseIp(name)
  const field = ip === undefined ? `metadata.name=${second ?? first}` : `status.podIP=${ip}`
  const { items } =
    second === undefined
      ? await api.listPodForAllNamespaces({ fieldSelector: field })
      : await api.listNamespacedPod({ namespace: first, fieldSelector: field })
  return items.length === 1 ? (items[0]?.spec?.nodeName ?? '') : ''
}

function askByExec(config: KubeConfig, { metadata }: V1Pod): AskNode {
  const [namespace, name] = [metadata?.namespace ?? '', metadata?.name ?? '']
  return async (method, path) => {
    const command = ['node', '-e', ASK_SCRIPT, method, path]
    const { stdout, stderr, status } = await execIn(config, namespace, name, command)
    if (status.status !== 'Success')
      throw new Error(stderr || status.message || 'the question could not be put')
    return readAnswer(stdout)
  }
}

/** The same question, whose answer goes on: it ends with the connection to the apiserver. */
function streamByExec(config: KubeConfig, { metadata }: V1Pod): StreamNode {
  const [namespace, name] = [metadata?.namespace ?? '', metadata?.name ?? '']
  return async (path, signal) => {
    const answer = new PassThrough()
    // The apiserver does not wait for us: who reads too slowly for this is told so.
    const bounded = new Writable({
      write(chunk: Buffer, _encoding, callback) {
        if (answer.writableLength > MAX_UNREAD_BYTES) answer.destroy(new Error('read too slowly'))
        else if (!answer.destroyed) answer.write(chunk)
        callback()
      },
    })
    const ignored = new Writable({ write: (_chunk, _encoding, callback) => callback() })
    const command = ['node', '-e', ASK_SCRIPT, 'GET', path]
    const ended = (): void => void answer.end()
    const streams = [bounded, ignored, null] as const
    const socket = await new Exec(config).exec(namespace, name, CONTAINER, command, ...streams, false, ended)
    socket.onclose = ended
    socket.onerror = (event: unknown) => answer.destroy(new Error(errorText(event)))
    signal.addEventListener('abort', () => {
      socket.close()
      answer.destroy()
    })
    const chunks = answer[Symbol.asyncIterator]() as AsyncIterator<Buffer> // as: what was written
    let head = Buffer.alloc(0)
    while (!head.includes('\n')) {
      const { done, value } = await chunks.next()
      if (done === true) throw new Error('the question could not be put')
      head = Buffer.concat([head, value])
    }
    const { status, body } = readAnswer(head.toString('latin1'))
    return { status, body: rest(Buffer.from(body, 'latin1'), chunks) }
  }
}

async function* rest(first: Buffer, chunks: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  if (first.length > 0) yield first
  for (let next = await chunks.next(); next.done !== true; next = await chunks.next()) yield next.value
}

/** The number of the status, then the body. */
function readAnswer(text: string): NodeAnswer {
  const end = text.indexOf('\n')
  const status = Number(text.slice(0, Math.max(0, end)))
  if (end < 0 || !Number.isInteger(status)) throw new Error('the answer is cut')
  return { status, body: text.slice(end + 1) }
}

interface Executed {
  readonly stdout: string
  readonly stderr: string
  readonly status: V1Status
}

async function execIn(
  config: KubeConfig,
  namespace: string,
  name: string,
  command: string[],
): Promise<Executed> {
  const { promise, resolve, reject } = Promise.withResolvers<Executed>()
  const [stdout, stderr] = [collector(reject), collector(reject)]
  const timer = setTimeout(() => reject(new Error(`no answer within ${EXEC_TIMEOUT_MS} ms`)), EXEC_TIMEOUT_MS)
  const done = (status: V1Status): void => resolve({ stdout: stdout.text(), stderr: stderr.text(), status })
  try {
    const streams = [stdout.stream, stderr.stream, null] as const
    const opened = new Exec(config).exec(namespace, name, CONTAINER, command, ...streams, false, done)
    opened.then(
      (socket) => {
        socket.onerror = (event: unknown) => reject(new Error(errorText(event)))
        socket.onclose = () => reject(new Error('the apiserver ended the question'))
        promise.finally(() => socket.close()).catch(() => {})
      },
      (error: unknown) => reject(error instanceof Error ? error : new Error(errorText(error))),
    )
    return await promise
  } finally {
    clearTimeout(timer)
  }
}

/** The library rejects with events of its WebSocket. */
function errorText(error: unknown): string {
  const { message } = (error ?? {}) as { readonly message?: unknown } // as: looked at here
  return typeof message === 'string' ? message : 'the apiserver refuses exec'
}

function collector(onTooMuch: (error: Error) => void): { readonly stream: Writable; text(): string } {
  const chunks: Buffer[] = []
  let length = 0
  const stream = new Writable({
    write(chunk: Buffer, _encoding, callback) {
      length += chunk.length
      if (length > MAX_EXEC_BYTES) onTooMuch(new Error(`more than ${MAX_EXEC_BYTES} bytes`))
      else chunks.push(chunk)
      callback()
    },
  })
  return { stream, text: () => Buffer.concat(chunks).toString('utf8') }
}
