// SPDX-License-Identifier: Apache-2.0
// Runs inside a namespace and does what its parent says over IPC: asks by UDP or TCP, bytes in and bytes out. With the
// argument `serve` it is a resolver instead, whose answers depend on the name that is asked for; it tells of every message.
import { createSocket } from 'node:dgram'
import { connect, createServer, type Socket } from 'node:net'
import dnsPacket from 'dns-packet'

const RESOLVER_PORT = 53

/** What the parent asks for. */
export interface DnsAsk {
  readonly id: number
  readonly protocol: 'udp' | 'tcp'
  readonly ip: string
  readonly port: number
  /** By UDP: from this port; absent: from any. */
  readonly from?: number
  /** Messages in hex; by TCP all on one connection. */
  readonly messages: readonly string[]
  /** Until so many answers are there, or the connection has ended. */
  readonly count: number
}
/** What came of it; or, from a resolver, one message that it got and the ones it sent. */
export interface DnsTold {
  readonly type: 'up' | 'answers' | 'served'
  readonly id: number
  readonly protocol: 'udp' | 'tcp'
  readonly received: readonly string[]
  readonly sent: readonly string[]
}

const tell = (told: DnsTold): void => void process.send?.(told, () => {})

/** Splits what a TCP connection brings into messages. */
function messagesOf(socket: Socket, onMessage: (message: Buffer) => void): void {
  let rest = Buffer.alloc(0)
  socket.on('data', (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk])
    while (rest.length >= 2 && rest.length >= 2 + rest.readUInt16BE(0)) {
      const end = 2 + rest.readUInt16BE(0)
      onMessage(rest.subarray(2, end))
      rest = rest.subarray(end)
    }
  })
  socket.on('error', () => {})
}

function framed(message: Uint8Array): Buffer {
  const length = Buffer.alloc(2)
  length.writeUInt16BE(message.length)
  return Buffer.concat([length, message])
}

function ask({ id, protocol, ip, port, from: localPort, messages, count }: DnsAsk): void {
  const received: string[] = []
  const bytes = messages.map((hex) => Buffer.from(hex, 'hex'))
  const done = (): void => tell({ type: 'answers', id, protocol, received, sent: messages })
  if (protocol === 'tcp') {
    const socket = connect({ host: ip, port })
    socket.on('connect', () => socket.write(Buffer.concat(bytes.map(framed))))
    messagesOf(socket, (message) => {
      received.push(message.toString('hex'))
      if (received.length === count) socket.end()
    })
    socket.on('close', done)
    return
  }
  const socket = createSocket(ip.includes(':') ? 'udp6' : 'udp4')
  socket.on('message', (message, from) => {
    // An answer from anybody else than whom was asked is no answer to a real client.
    if (from.address === ip && from.port === port) received.push(message.toString('hex'))
    if (received.length === count) socket.close()
  })
  socket.on('close', done)
  const send = (): void => {
    for (const message of bytes) socket.send(message, port, ip)
  }
  if (localPort === undefined) send()
  else socket.bind(localPort, send)
}

/** The answers of the resolver to a message. */
function answersTo(request: Buffer, protocol: 'udp' | 'tcp'): Buffer[] {
  const answer = Buffer.from(request)
  if (answer.length < 4) return []
  answer[2] = (answer[2] ?? 0) | 0x80
  const opcode = ((request[2] ?? 0) >> 3) & 15
  const question = opcode === 0 && request.length > 12 ? nameAndType(request) : null
  if (question === null) return [answer]
  const { name, type, id } = question
  const first = name.split('.')[0]?.toLowerCase() ?? ''
  if (first === 'silent') return []
  if (first === 'garbage') return [Buffer.of(1), Buffer.from('00000000', 'hex'), Buffer.alloc(40, 7)]
  const size = Number(/^big(\d+)/.exec(first)?.[1] ?? 20)
  const encode = (count: number): Buffer =>
    dnsPacket.encode({
      ...{ type: 'response' as const, id, flags: dnsPacket.RECURSION_DESIRED },
      questions: [{ type: type as 'TXT', name, class: 'IN' }], // as: any type is encoded
      answers: Array.from({ length: count }, (_, index) => ({
        ...{ type: 'TXT' as const, name, ttl: 7, data: Buffer.alloc(Math.min(250, size), 65 + (index % 26)) },
      })),
    })
  if (type === 'AXFR') return [1, 2, 3].map(encode)
  const whole = encode(Math.ceil(size / 250))
  if (first !== 'trunc' || protocol === 'tcp') return [whole]
  const short = encode(0)
  short[2] = (short[2] ?? 0) | 2
  return [short]
}

function nameAndType(request: Buffer): { name: string; type: string; id: number } | null {
  try {
    const { questions, id = 0 } = dnsPacket.decode(request)
    const [first] = questions ?? []
    return first === undefined ? null : { name: first.name, type: first.type, id }
  } catch {
    return null
  }
}

function serve(): void {
  const told = (protocol: 'udp' | 'tcp', request: Buffer, sent: readonly Buffer[]): void =>
    tell({
      ...{ type: 'served' as const, id: 0, protocol, received: [request.toString('hex')] },
      sent: sent.map((message) => message.toString('hex')),
    })
  const udp = createSocket({ type: 'udp6', ipv6Only: false })
  udp.on('message', (request, { address, port }) => {
    const answers = answersTo(request, 'udp')
    told('udp', request, answers)
    for (const answer of answers) udp.send(answer, port, address)
  })
  const tcp = createServer((socket) => {
    messagesOf(socket, (request) => {
      const answers = answersTo(request, 'tcp')
      told('tcp', request, answers)
      for (const answer of answers) socket.write(framed(answer))
    })
  })
  udp.bind(RESOLVER_PORT, '::', () =>
    tcp.listen(RESOLVER_PORT, '::', () =>
      tell({ type: 'up', id: 0, protocol: 'udp', received: [], sent: [] }),
    ),
  )
}

process.on('disconnect', () => process.exit())
if (process.argv[2] === 'serve') serve()
else {
  process.on('message', (message) => ask(message as DnsAsk)) // as: of our parent
  tell({ type: 'up', id: 0, protocol: 'udp', received: [], sent: [] })
}
