// SPDX-License-Identifier: Apache-2.0
// A netlink socket of one network namespace: synchronous request, dump and batch, each with a deadline. The kernel
// answers within the send call, so waiting is the exception; it blocks the calling thread, never a reactor worker.
// SPEC NETLINK: replies carry the sequence of the request; an ack is an error message with errno 0.
import { performance } from 'node:perf_hooks'
import { MeshError } from '../../errors/mesh-error.ts'
import { isRefusal, type Refusal } from '../../errors/refusal.ts'
import type { Block } from '../byte-stream.ts'
import { AF_NETLINK, MSG_DONTWAIT, MSG_TRUNC, SOCK_CLOEXEC, SOCK_RAW, SOL_SOCKET } from '../ffi/constants.ts'
import { bind, close, describeErrno, E, errno, recvfrom, send, setsockopt, socket } from '../ffi/libc.ts'
import { addressOf, allocateBlock, type Pointer } from '../ffi/native.ts'
import type { NetworkNamespace } from '../netns.ts'
import { systemError } from '../socket-options.ts'
import {
  Attributes,
  MESSAGE_HEADER_BYTES,
  MESSAGE_SEQUENCE_AT,
  MessageBuilder,
  type NetlinkMessage,
  NLM_F_ACK,
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_OVERRUN,
  parseAttributes,
  parseMessages,
} from './message.ts'

/** Links, addresses, routes, rules. */
export const NETLINK_ROUTE = 0
/** nf_tables, conntrack. */
export const NETLINK_NETFILTER = 12
/** Errno values that callers tolerate and libc.ts does not name. */
export const ESRCH = 3
export const ENODEV = 19
export const EAFNOSUPPORT = 97
export const EOPNOTSUPP = 95

const SOL_NETLINK = 270
const NETLINK_ADD_MEMBERSHIP = 1
const NETLINK_CAP_ACK = 10
const NETLINK_EXT_ACK = 11
const SO_RCVTIMEO = 20
const SOCKADDR_NL_BYTES = 12
const NLMSGERR_ATTR_MSG = 1
/** Dump datagrams are at most 32 KiB (the kernel's cap); room for twice that. */
const RECEIVE_BYTES = 65_536
/** All replies of one request: some 100,000 routes. More means that the answer does not end. */
const MAX_REPLY_BYTES = 16_777_216
/** A dump that changed under way is read again; a namespace that changes this often is not settling. */
const MAX_DUMP_ATTEMPTS = 5
/** The kernel answers in microseconds; it waits for the RTNL lock at most while others reconfigure hundreds of links. */
const DEFAULT_TIMEOUT_MS = 5000

/** Writes the fixed header and attributes of one message. */
export type MessageWriter = (builder: MessageBuilder) => void

/** One message of a batch. */
export interface BatchMessage {
  readonly type: number
  readonly flags: number
  readonly write: MessageWriter
}

/** Settings of one call. */
export interface RequestOptions {
  /** What was tried, for the error's detail. */
  readonly label: string
  /** Errno values that count as success. */
  readonly tolerated?: readonly number[]
}

let receiveBlock: Block | null = null

/** One for all connections of a thread: a datagram is copied out of it before anything else can be received. */
function sharedReceiveBlock(): Block {
  receiveBlock ??= allocateBlock(RECEIVE_BYTES)
  return receiveBlock
}

/** A netlink socket. Owns its descriptor; not for use from two threads. */
export class NetlinkConnection {
  readonly #timeoutMs: number
  readonly #receive: Block = sharedReceiveBlock()
  readonly #from: Block = allocateBlock(SOCKADDR_NL_BYTES + 4)
  #fd: number
  #sequence = 1

  private constructor(fd: number, timeoutMs: number) {
    this.#fd = fd
    this.#timeoutMs = timeoutMs
  }

  /**
   * Opens a socket of `protocol` in `namespace`, or in the thread's own. The socket stays there for its life.
   * @throws NAMESPACE_GONE, OUT_OF_DESCRIPTORS, MISSING_CAPABILITY, SYSTEM_CALL
   */
  static open(
    protocol: number,
    namespace: NetworkNamespace | null = null,
    timeoutMs = DEFAULT_TIMEOUT_MS,
  ): NetlinkConnection {
    const create = (): number => {
      const fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol)
      if (fd < 0) throw systemError('socket AF_NETLINK') // here: on the way home errno becomes another
      return fd
    }
    const fd = namespace === null ? create() : namespace.run(create)
    const connection = new NetlinkConnection(fd, timeoutMs)
    try {
      connection.#configure()
    } catch (error) {
      connection.close()
      throw error
    }
    return connection
  }

  /** Opens a socket, runs `action` with it and closes it whatever happens. */
  static use<T>(
    protocol: number,
    namespace: NetworkNamespace | null,
    action: (connection: NetlinkConnection) => T,
  ): T {
    const connection = NetlinkConnection.open(protocol, namespace)
    try {
      return action(connection)
    } finally {
      connection.close()
    }
  }

  /** Sends one request and waits for its ack. Returns the messages that came before the ack. @throws NETLINK */
  request(type: number, flags: number, write: MessageWriter, options: RequestOptions): NetlinkMessage[] {
    const sequence = this.#nextSequence()
    const builder = new MessageBuilder().begin(type, flags | NLM_F_REQUEST | NLM_F_ACK, sequence)
    write(builder)
    this.#send(builder.end().bytes, options.label)
    const replies: NetlinkMessage[] = []
    let isAcked = false
    this.#collect(options.label, (message) => {
      if (message.sequence !== sequence) return false
      if (message.type !== NLMSG_ERROR) {
        replies.push(message)
        return false
      }
      this.#check(message, options)
      isAcked = true
      return true
    })
    if (!isAcked) throw new MeshError('NETLINK', { detail: `${options.label}: no answer` })
    return replies
  }

  /**
   * Sends a request that was written before, without NLM_F_ACK, and waits for the one message that answers it; null when it was
   * refused with a tolerated errno. Its sequence is filled in. @throws NETLINK
   */
  ask(request: Block, byteLength: number, options: RequestOptions): NetlinkMessage | null {
    const sequence = this.#nextSequence()
    request.bytes.writeUInt32LE(sequence >>> 0, MESSAGE_SEQUENCE_AT)
    this.#sendAt(request.address, byteLength, options.label)
    const answers: NetlinkMessage[] = []
    this.#collect(options.label, (message) => {
      if (message.sequence !== sequence) return false
      if (message.type === NLMSG_ERROR) this.#check(message, options)
      else answers.push(message)
      return true
    })
    return answers[0] ?? null
  }

  /** Reads a whole table. A table that changed meanwhile is read again. @throws NETLINK */
  dump(type: number, write: MessageWriter, options: RequestOptions): NetlinkMessage[] {
    for (let attempt = 1; ; attempt++) {
      const replies = this.#dumpOnce(type, write, options)
      if (replies !== null) return replies
      if (attempt === MAX_DUMP_ATTEMPTS) {
        throw new MeshError('NETLINK', {
          detail: `${options.label}: changed during every read`,
          retryable: true,
        })
      }
    }
  }

  /**
   * Sends messages in one datagram, between `begin` and `end`: nf_tables takes all of them or none.
   * @throws NETLINK with the kernel's text for the first message it refused
   */
  batch(begin: BatchMessage, messages: readonly BatchMessage[], end: BatchMessage, label: string): void {
    if (messages.length === 0) return
    const builder = new MessageBuilder()
    const first = this.#sequence
    const append = (message: BatchMessage, extra = 0): number => {
      const sequence = this.#nextSequence()
      builder.begin(message.type, message.flags | NLM_F_REQUEST | extra, sequence)
      message.write(builder)
      builder.end()
      return sequence
    }
    append(begin)
    // Only the last one is acked: refusals are reported in any case, and one ack tells that all were taken.
    messages.forEach((message, index) => {
      append(message, index === messages.length - 1 ? NLM_F_ACK : 0)
    })
    append(end)
    this.#send(builder.bytes, label)
    let failure: MeshError | null = null
    let isAcked = false
    const take = (message: NetlinkMessage): boolean => {
      const isOurs = message.sequence >= first && message.sequence < this.#sequence
      if (!isOurs || message.type !== NLMSG_ERROR) return false
      if (message.payload.length >= 4 && message.payload.readInt32LE(0) === 0) isAcked = true
      else failure ??= refused(message, `${label} (message ${message.sequence - first} of the batch)`)
      return false
    }
    // A failed commit is reported beside a good ack: everything that is queued is read before the verdict.
    this.#drain(label, take)
    if (!isAcked && failure === null)
      this.#collect(label, (message) => take(message) || isAcked || failure !== null)
    if (failure !== null) throw failure
  }

  /**
   * What the kernel has sent of its own accord, one datagram at a time; null when no more is there. Does not wait.
   * @throws NETLINK also when datagrams were lost: what comes next is good again
   */
  takeSent(label: string): readonly NetlinkMessage[] | null {
    const datagram = this.#receiveOne(MSG_DONTWAIT, label)
    if (datagram === null) return null
    const messages: NetlinkMessage[] = []
    this.#takeAll(datagram, label, (message) => messages.push(message) < 0)
    return messages
  }

  /** Hears what the kernel tells a multicast group from now on (takeSent). @throws MISSING_CAPABILITY, SYSTEM_CALL */
  join(group: number): void {
    const value = allocateBlock(4)
    value.bytes.writeUInt32LE(group, 0)
    if (setsockopt(this.#fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, value.address, 4) !== 0)
      throw systemError(`join netlink group ${group}`)
  }

  /** -1 once it is closed. */
  get fd(): number {
    return this.#fd
  }

  /** Idempotent. */
  close(): void {
    if (this.#fd < 0) return
    close(this.#fd)
    this.#fd = -1
  }

  #configure(): void {
    const value = allocateBlock(16)
    value.bytes.fill(0)
    value.bytes.writeUInt16LE(AF_NETLINK, 0)
    if (bind(this.#fd, value.address, SOCKADDR_NL_BYTES) !== 0) throw systemError('bind AF_NETLINK')
    value.bytes.writeUInt32LE(1, 0)
    // Both only better the error texts: an older kernel may lack them.
    setsockopt(this.#fd, SOL_NETLINK, NETLINK_EXT_ACK, value.address, 4)
    setsockopt(this.#fd, SOL_NETLINK, NETLINK_CAP_ACK, value.address, 4)
  }

  #setReceiveTimeout(timeoutMs: number): void {
    const value = allocateBlock(16) // struct timeval, 64-bit
    value.bytes.fill(0)
    value.bytes.writeUInt32LE(Math.floor(timeoutMs / 1000), 0)
    value.bytes.writeUInt32LE(Math.floor(timeoutMs % 1000) * 1000, 8)
    if (setsockopt(this.#fd, SOL_SOCKET, SO_RCVTIMEO, value.address, 16) !== 0)
      throw systemError('setsockopt SO_RCVTIMEO')
  }

  #nextSequence(): number {
    const sequence = this.#sequence
    this.#sequence = sequence + 1
    return sequence
  }

  #send(bytes: Buffer, label: string): void {
    this.#sendAt(addressOf(bytes), bytes.length, label)
  }

  #sendAt(address: Pointer, byteLength: number, label: string): void {
    if (send(this.#fd, address, byteLength, 0) === byteLength) return
    const code = errno()
    throw new MeshError('NETLINK', { detail: `${label}: send: ${describeErrno(code)}` })
  }

  #dumpOnce(type: number, write: MessageWriter, options: RequestOptions): NetlinkMessage[] | null {
    const sequence = this.#nextSequence()
    const builder = new MessageBuilder().begin(type, NLM_F_REQUEST | NLM_F_DUMP, sequence)
    write(builder)
    this.#send(builder.end().bytes, options.label)
    const replies: NetlinkMessage[] = []
    let isInterrupted = false
    this.#collect(options.label, (message) => {
      if (message.sequence !== sequence) return false
      if ((message.flags & NLM_F_DUMP_INTR) !== 0) isInterrupted = true
      if (message.type === NLMSG_DONE || message.type === NLMSG_ERROR) {
        this.#check(message, options)
        return true
      }
      replies.push(message)
      return false
    })
    return isInterrupted ? null : replies
  }

  #check(message: NetlinkMessage, options: RequestOptions): void {
    if (message.payload.length >= 4) {
      const code = -message.payload.readInt32LE(0)
      if (code === 0 || options.tolerated?.includes(code) === true) return
    }
    throw refused(message, options.label)
  }

  /** Hands messages to `take` until it returns true; waits for them up to the deadline. */
  #collect(label: string, take: (message: NetlinkMessage) => boolean): void {
    const deadline = performance.now() + this.#timeoutMs
    let bytes = 0
    for (;;) {
      let datagram = this.#receiveOne(MSG_DONTWAIT, label)
      if (datagram === null) {
        const remainingMs = deadline - performance.now()
        if (remainingMs < 1)
          throw new MeshError('NETLINK', { detail: `${label}: no answer in time`, retryable: true })
        this.#setReceiveTimeout(remainingMs)
        datagram = this.#receiveOne(0, label)
        if (datagram === null) continue
      }
      bytes += datagram.length
      if (bytes > MAX_REPLY_BYTES)
        throw new MeshError('NETLINK', { detail: `${label}: the answer does not end` })
      if (this.#takeAll(datagram, label, take)) return
    }
  }

  /** Hands everything that is queued already to `take`. */
  #drain(label: string, take: (message: NetlinkMessage) => boolean): void {
    for (let datagram = this.#receiveOne(MSG_DONTWAIT, label); datagram !== null; ) {
      this.#takeAll(datagram, label, take)
      datagram = this.#receiveOne(MSG_DONTWAIT, label)
    }
  }

  #takeAll(datagram: Buffer, label: string, take: (message: NetlinkMessage) => boolean): boolean {
    const messages = parseMessages(datagram)
    if (isRefusal(messages)) throw new MeshError('NETLINK', { detail: `${label}: ${messages.detail}` })
    for (const message of messages) {
      if (message.type === NLMSG_OVERRUN) throw new MeshError('NETLINK', { detail: `${label}: overrun` })
      if (take(message)) return true
    }
    return false
  }

  /** A copy of the next datagram from the kernel; null when none came in time. */
  #receiveOne(flags: number, label: string): Buffer | null {
    for (;;) {
      this.#from.bytes.writeUInt32LE(SOCKADDR_NL_BYTES, SOCKADDR_NL_BYTES)
      const count = recvfrom(
        this.#fd,
        this.#receive.address,
        RECEIVE_BYTES,
        flags | MSG_TRUNC,
        this.#from.address,
        this.#from.address + SOCKADDR_NL_BYTES,
      )
      if (count < 0) {
        const code = errno()
        if (code === E.AGAIN) return null
        if (code === E.INTR) continue
        throw new MeshError('NETLINK', { detail: `${label}: receive: ${describeErrno(code)}` })
      }
      // Any process of the namespace may send to our port: only the kernel (port 0) is believed.
      if (this.#from.bytes.readUInt32LE(4) !== 0) continue
      if (count > RECEIVE_BYTES)
        throw new MeshError('NETLINK', { detail: `${label}: datagram of ${count} bytes` })
      return Buffer.from(this.#receive.bytes.subarray(0, count))
    }
  }
}

/** The kernel's refusal as an error: errno and, where it gives one, its own sentence. */
function refused(message: NetlinkMessage, label: string): MeshError {
  if (message.payload.length < 4) return new MeshError('NETLINK', { detail: `${label}: truncated answer` })
  const code = -message.payload.readInt32LE(0)
  const sentence = extendedText(message)
  const detail = `${label}: ${describeErrno(code)}${sentence === undefined ? '' : `: ${sentence}`} (errno ${code})`
  return new MeshError(code === E.PERM ? 'MISSING_CAPABILITY' : 'NETLINK', { detail })
}

function extendedText(message: NetlinkMessage): string | undefined {
  if ((message.flags & NLM_F_ACK_TLVS) === 0) return undefined
  const payload = message.payload
  // nlmsgerr: errno, the header of the request and, unless capped, the rest of the request; then attributes.
  let at = 4
  if (message.type === NLMSG_ERROR) {
    if (payload.length < 4 + MESSAGE_HEADER_BYTES) return undefined
    const quoted = (message.flags & NLM_F_CAPPED) === 0 ? payload.readUInt32LE(4) : MESSAGE_HEADER_BYTES
    at += (quoted + 3) & ~3
  }
  const attributes = parseAttributes(payload, at)
  return attributes instanceof Attributes ? attributes.text(NLMSGERR_ATTR_MSG) : undefined
}

/** Attributes of a message from the kernel. @throws NETLINK when they lie: the kernel never does */
export function attributesOf(message: NetlinkMessage, headerBytes: number): Attributes {
  return trusted(parseAttributes(message.payload, headerBytes))
}

/** The level below an attribute. @throws NETLINK when it lies */
export function nestedOf(attributes: Attributes, type: number): Attributes {
  return trusted(attributes.nested(type))
}

/** Turns what a parser refused into an error, for messages whose sender is known to be the kernel. */
export function trusted<T>(value: T | Refusal): T {
  if (isRefusal(value)) throw new MeshError(value.code, { detail: value.detail })
  return value
}
