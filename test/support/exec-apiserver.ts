// SPDX-License-Identifier: Apache-2.0
// An apiserver that lists pods and runs what is asked for by exec: real processes on this machine in place of those of a
// container. As much of WebSocket as exec needs: messages to the caller.
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'

/** SPEC RFC6455 §1.3 */
const ACCEPT_SUFFIX = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
/** SPEC Kubernetes remotecommand v4: channels of a message's first byte. */
const [STDOUT, STDERR, STATUS] = [1, 2, 3]

/** A pod as far as it is listed. */
export interface ListedPod {
  readonly namespace: string
  readonly name: string
  readonly nodeName: string
  readonly app: string
  readonly ip: string
  readonly phase?: string
}

/** What an apiserver of this kind did. */
export interface ExecApiserver {
  /** The file to reach it by; it has one context, `lab`. */
  readonly kubeconfig: string
  readonly pods: ListedPod[]
  /** `namespace/pod/container` of each exec. */
  readonly execs: string[]
  /** Environment of what runs in a pod; undefined: exec is refused. */
  environment: (pod: string) => Readonly<Record<string, string>> | undefined
  close(): void
}

/** Starts one; its kubeconfig is written to `file`. */
export async function startExecApiserver(file: string): Promise<ExecApiserver> {
  const state: ExecApiserver = {
    ...{ kubeconfig: file, pods: [], execs: [], environment: () => ({}) },
    close: () => void server.close(),
  }
  const server = createServer((request, response) => {
    response.setHeader('content-type', 'application/json')
    response.end(
      JSON.stringify({ kind: 'PodList', apiVersion: 'v1', metadata: {}, items: listed(state.pods, request) }),
    )
  })
  server.on('upgrade', (request: IncomingMessage, socket: Duplex) => void runExec(state, request, socket))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo // as: TCP
  writeFileSync(
    file,
    JSON.stringify({
      clusters: [
        { name: 'lab', cluster: { server: `http://127.0.0.1:${port}`, 'insecure-skip-tls-verify': true } },
      ],
      users: [{ name: 'lab', user: {} }],
      contexts: [{ name: 'lab', context: { cluster: 'lab', user: 'lab' } }],
      'current-context': 'lab',
    }),
  )
  return state
}

function listed(pods: readonly ListedPod[], { url = '' }: IncomingMessage): readonly unknown[] {
  const { pathname, searchParams } = new URL(url, 'http://lab')
  const namespace = /^\/api\/v1\/namespaces\/([^/]+)\/pods$/.exec(pathname)?.[1]
  const [key, value] = (searchParams.get('labelSelector') ?? searchParams.get('fieldSelector') ?? '').split(
    '=',
  )
  return pods
    .filter((pod) => namespace === undefined || pod.namespace === namespace)
    .filter(
      (pod) => ({ app: pod.app, 'metadata.name': pod.name, 'status.podIP': pod.ip })[key ?? ''] === value,
    )
    .map(({ namespace: own, name, nodeName, ip, phase = 'Running' }) => ({
      metadata: { namespace: own, name },
      spec: { nodeName, containers: [] },
      status: { phase, podIP: ip },
    }))
}

async function runExec(
  state: ExecApiserver,
  { url = '', headers }: IncomingMessage,
  socket: Duplex,
): Promise<void> {
  const { pathname, searchParams } = new URL(url, 'http://lab')
  const [, namespace, pod] = /^\/api\/v1\/namespaces\/([^/]+)\/pods\/([^/]+)\/exec$/.exec(pathname) ?? []
  state.execs.push(`${namespace}/${pod}/${searchParams.get('container')}`)
  const env = state.environment(pod ?? '')
  if (env === undefined) {
    socket.end('HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n')
    return
  }
  const accept = createHash('sha1').update(`${headers['sec-websocket-key']}${ACCEPT_SUFFIX}`).digest('base64')
  const [protocol = ''] = (headers['sec-websocket-protocol'] ?? '').split(',')
  const head = ['HTTP/1.1 101 Switching Protocols', 'upgrade: websocket', 'connection: upgrade']
  socket.write(
    `${head.join('\r\n')}\r\nsec-websocket-accept: ${accept}\r\nsec-websocket-protocol: ${protocol}\r\n\r\n`,
  )
  const [program = '', ...args] = searchParams.getAll('command')
  const { stdout, stderr, isGood } = await run(program === 'node' ? process.execPath : program, args, env)
  for (let at = 0; at < stdout.length; at += 32_768)
    sendMessage(socket, STDOUT, stdout.subarray(at, at + 32_768))
  if (stderr.length > 0) sendMessage(socket, STDERR, stderr)
  const status = isGood
    ? { status: 'Success' }
    : { status: 'Failure', message: 'command terminated with exit code 1' }
  sendMessage(socket, STATUS, Buffer.from(JSON.stringify(status)))
  socket.on('error', () => {})
}

function run(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<{ stdout: Buffer; stderr: Buffer; isGood: boolean }> {
  return new Promise((resolve) =>
    execFile(
      program,
      args,
      { env, encoding: 'buffer', maxBuffer: 1 << 26, timeout: 20_000 },
      (error, stdout, stderr) => resolve({ stdout, stderr, isGood: error === null }),
    ),
  )
}

/** SPEC RFC6455 §5.2: one final binary frame, unmasked as servers send it. */
function sendMessage(socket: Duplex, channel: number, text: Buffer): void {
  const length = text.length + 1
  const header =
    length < 126 ? Buffer.from([0x82, length]) : Buffer.from([0x82, 126, length >> 8, length & 0xff])
  socket.write(Buffer.concat([header, Buffer.from([channel]), text]))
}
