// SPDX-License-Identifier: Apache-2.0
// One half of a connection has ended, and the other one says nothing for longer than the kernel remembers such a
// connection (nf_conntrack_tcp_timeout_close_wait, a minute): then it goes on, and all of it arrives. Every way in which
// a pod's connections are redirected or told apart by what the kernel remembers.
import { once } from 'node:events'
import { createServer, type Server, Socket } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import { AF_INET, SOCK_CLOEXEC, SOCK_STREAM } from '../../mesh/reactor/ffi/constants.ts'
import { connect, socket } from '../../mesh/reactor/ffi/libc.ts'
import { encodeSocketAddress } from '../../mesh/reactor/socket-address.ts'
import { openListener } from '../../mesh/reactor/tcp-listener.ts'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabPod, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'

const IPS = { cart: '10.2.0.1', stranger: '10.1.0.3' } as const
/** Answers once its client has ended, and it has been silent for long. */
const LATE_PORT = 9201
/** Ends its half at once, and takes what comes. */
const EARLY_PORT = 9202
const TIMEOUT_SECONDS = 60
const SILENCE_MS = (TIMEOUT_SECONDS + 15) * 1000
/** For the rest of a connection, after its silence. */
const GRACE_MS = 10_000
const REQUEST = 'all of the request'
const ANSWER = 'all of the answer'

type Peer = keyof typeof IPS
const WAYS: ReadonlyArray<readonly [what: string, from: LabPod, to: Peer]> = [
  ['a tunnel', 'front', 'cart'],
  ['past the mesh', 'front', 'stranger'],
  ['from outside the mesh', 'stranger', 'cart'],
]

t.setTimeout(240_000)

/** All that comes, until the end. */
async function readAll(socket: Socket): Promise<string> {
  let text = ''
  for await (const chunk of socket.setEncoding('latin1')) text += chunk
  return text
}

/** The same, for one who may never hear of an end: what was lost is named. */
async function readInTime(socket: Socket): Promise<string> {
  const late = setTimeout(() => socket.destroy(new Error('nothing came')), SILENCE_MS + GRACE_MS)
  try {
    return await readAll(socket)
  } catch (error) {
    return String(error)
  } finally {
    clearTimeout(late)
  }
}

/** A server in the network of a pod. */
function serve(lab: MeshLab, pod: LabPod, port: number, onConnection: (socket: Socket) => void): Server {
  const fd = lab.namespaceOf(pod).run(() => openListener('0.0.0.0', port))
  return createServer({ allowHalfOpen: true }, (each) => {
    each.on('error', () => {})
    onConnection(each)
  }).listen({ fd })
}

function dial(lab: MeshLab, pod: LabPod, ip: string, port: number): Socket {
  const fd = lab.namespaceOf(pod).run(() => socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0))
  const { address, bytes } = encodeSocketAddress(ip, port)
  if (connect(fd, address, bytes) !== 0) throw new Error(`no connection to ${ip}:${port}`)
  return new Socket({ fd, readable: true, writable: true, allowHalfOpen: true })
}

t.test(
  'half-closed connections outlive what the kernel remembers of them',
  { timeout: 230_000 },
  async (t) => {
    const lab = await MeshLab.start(labDirectory(t), labMesh([]))
    t.teardown(() => lab.close())
    const arrived: string[] = []
    const servers = Object.keys(IPS).flatMap((name) => {
      const pod = name as Peer // as: its keys
      return [
        serve(lab, pod, LATE_PORT, async (each) => {
          arrived.push(await readAll(each))
          await wait(SILENCE_MS)
          each.end(ANSWER)
        }),
        serve(lab, pod, EARLY_PORT, async (each) => {
          each.end(ANSWER)
          arrived.push(await readAll(each))
        }),
      ]
    })
    t.teardown(() => servers.forEach((each) => void each.close()))

    const late = async (what: string, from: LabPod, to: Peer): Promise<void> => {
      const client = dial(lab, from, IPS[to], LATE_PORT)
      client.end(REQUEST)
      t.equal(await readInTime(client), ANSWER, `${what}: an answer long after the end of the request`)
    }
    const early = async (what: string, from: LabPod, to: Peer): Promise<void> => {
      const client = dial(lab, from, IPS[to], EARLY_PORT)
      t.equal(await readInTime(client), ANSWER)
      await wait(SILENCE_MS)
      const closed = once(client, 'close').then(() => 'closed', String)
      client.end(REQUEST)
      const end = await Promise.race([closed, wait(GRACE_MS, 'never closed', { ref: false })])
      t.equal(end, 'closed', `${what}: a request long after the end of the answer`)
      client.destroy()
    }
    await Promise.all(WAYS.flatMap((way) => [late(...way), early(...way)]))
    // Whoever has sent the last one does not wait until it is read.
    await poll('every request', () => arrived.length === 2 * WAYS.length || null).catch(() => {})
    t.same(arrived, Array(2 * WAYS.length).fill(REQUEST), 'every request arrived')
  },
)
