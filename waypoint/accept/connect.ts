// SPDX-License-Identifier: Apache-2.0
// One CONNECT of a caller: what it asks for, who asks, what it speaks; then it is carried as HTTP or as bytes.
import { isRefusal, type Refusal, refuse } from '../../mesh/errors/refusal.ts'
import { parseDivertedFor } from '../../mesh/hbone/diversion.ts'
import { parseForwarded } from '../../mesh/hbone/forwarded.ts'
import type { InboundConnect } from '../../mesh/hbone/tunnel-server.ts'
import { HTTP1_LIMITS } from '../../mesh/http1/limits.ts'
import { formatSpiffeId, type SpiffeId } from '../../mesh/identity/spiffe.ts'
import type { ByteStream, ByteStreamHandler, CloseReason } from '../../mesh/reactor/byte-stream.ts'
import { allocateBlock } from '../../mesh/reactor/ffi/native.ts'
import type { Member } from '../../mesh/runtime/members.ts'
import { recordConnection } from '../carry/exchange-record.ts'
import { type ConnectionOptions, HttpConnection } from '../carry/http-connection.ts'
import { HANDSHAKE_TIMEOUT_MS, PEEK_TIMEOUT_MS } from '../carry/limits.ts'
import type { OpenBytes } from '../carry/open-bytes.ts'
import type { Sender } from '../carry/request-headers.ts'
import type { Target } from '../carry/target.ts'
import { TcpConnection } from '../carry/tcp-connection.ts'
import type { KnownTarget, WaypointContext } from '../carry/waypoint-context.ts'
import type { CallerLabels } from '../model/caller-labels.ts'
import { HelloPeek } from './hello-peek.ts'
import { PrefixedStream } from './prefixed-stream.ts'
import { ProtocolPeek, type Spoken } from './protocol-peek.ts'

/** Who is at the other end of a tunnel. */
export interface TunnelPeer {
  readonly id: SpiffeId
  /** Address of the node or pod that opened the tunnel. */
  readonly ip: string
}

/** A caller, as the waypoint believes it. */
interface Believed {
  readonly kind: 'believed'
  readonly caller: SpiffeId | null
  readonly divertedFor: string
}

/** Only who is behind the target may say that somebody else calls. SPEC decision 11. */
export function believedCaller(
  peer: SpiffeId,
  divertedFor: string,
  behind: readonly string[],
): Believed | Refusal {
  const diversion = parseDivertedFor(divertedFor)
  if (diversion === null) return { kind: 'believed', caller: peer, divertedFor: '' }
  if (isRefusal(diversion)) return diversion
  const stated = formatSpiffeId(peer)
  if (!behind.includes(stated))
    return refuse('CONNECT_DIVERSION', `${stated} states a caller and is not behind what it asks for`)
  return { kind: 'believed', caller: diversion.caller, divertedFor }
}

/** waiting for its target → looked at → carried. */
export class Connect implements ByteStreamHandler, OpenBytes, Member {
  memberIndex = -1
  readonly authority: string
  readonly #context: WaypointContext
  readonly #peer: TunnelPeer
  readonly #connect: InboundConnect
  readonly #onEnded: (connect: Connect) => void
  #carried: HttpConnection | TcpConnection | null = null
  /** Of a connection that is carried as bytes: asks again whether it may be. */
  #refusalNow: (() => Refusal | null) | null = null
  #isOver = false
  #isDraining = false

  constructor(
    context: WaypointContext,
    peer: TunnelPeer,
    connect: InboundConnect,
    onEnded: (connect: Connect) => void,
  ) {
    this.#context = context
    this.#peer = peer
    this.#connect = connect
    this.#onEnded = onEnded
    connect.stream.setHandler(this)
    connect.stream.pause()
    const { authority } = connect
    this.authority = authority
    const known = context.targets.get(authority)
    if (known !== undefined) this.#serve(known)
    else
      context.targets.request(authority, (answer) => {
        if (this.#isOver) return
        if (isRefusal(answer)) this.#refuse(answer)
        else this.#serve(answer)
      })
  }

  get isOver(): boolean {
    return this.#isOver
  }

  /** It ends between two requests when it is drained, and its caller opens another one. */
  get isMovable(): boolean {
    return this.#carried instanceof HttpConnection && !this.#isDraining
  }

  /** Requests under way are answered; a connection of bytes ends by itself. */
  drain(): void {
    this.#isDraining = true
    if (this.#carried instanceof HttpConnection) this.#carried.drain()
  }

  onData(): void {} // paused
  onEnd(): void {}
  onDrain(): void {}
  /** The caller gave up before it was carried. */
  onClose(): void {
    this.#over()
  }

  #serve({ view, target }: KnownTarget): void {
    if (view.kind === 'unknown' || target === null) {
      this.#refuse(view.kind === 'unknown' ? view.refusal : refuse('TARGET_UNSERVED', view.authority))
      return
    }
    const { divertedFor, forwarded } = this.#connect
    const believed = believedCaller(this.#peer.id, divertedFor, view.identities)
    if (isRefusal(believed)) {
      this.#refuse(believed)
      return
    }
    const identity = believed.caller === null ? '' : formatSpiffeId(believed.caller)
    const sender = { ip: parseForwarded(forwarded).client?.ip ?? this.#peer.ip, identity }
    if (!target.asksCallerLabels) this.#serveCaller(target, believed, sender, {})
    else
      this.#context.callers.request(`${identity}|${sender.ip}`, (answer) => {
        if (this.#isOver) return
        if (isRefusal(answer)) this.#refuse(answer)
        else this.#serveCaller(target, believed, sender, answer.labels)
      })
  }

  #serveCaller(target: Target, believed: Believed, sender: Sender, labels: CallerLabels): void {
    const { caller, divertedFor } = believed
    const { baggage } = this.#connect
    const { view } = target
    const options: ConnectionOptions = {
      ...{ context: this.#context, target, divertedFor, sender },
      caller: { namespace: caller?.namespace ?? '', labels },
      // What the tunnel says of itself is said by who diverts.
      series: this.#context.series.callerOf(caller, sender.identity, divertedFor === '' ? baggage : ''),
      own: view.kind === 'workload' ? this.#context.makeCluster(view.cluster, divertedFor) : null,
      onClosed: (reason) => this.#onCarriedClosed(reason),
    }
    // A server name that policies want to know is said after the answer.
    const refusal = isBytes(target) && !target.asksServerName ? refusalOf(options, '') : null
    if (refusal !== null) {
      options.own?.cluster.close(refusal)
      this.#refuse(refusal)
      return
    }
    this.#connect.accept('')
    if (!isBytes(target)) this.#findProtocol(options)
    else if (target.asksServerName) this.#findServerName(options)
    else this.#carryBytes(options, this.#connect.stream, '')
  }

  #findProtocol(options: ConnectionOptions): void {
    const { stream } = this.#connect
    const { reactor } = this.#context
    const isDeclared = options.target.view.appProtocol !== null
    const timeoutMs = isDeclared ? HTTP1_LIMITS.idleTimeout.value : PEEK_TIMEOUT_MS
    new ProtocolPeek(stream, reactor, timeoutMs, {
      onSpoken: (spoken, head, hasEnded) => {
        const whole = new PrefixedStream(stream, head, hasEnded, reactor, allocateBlock)
        // Where HTTP was declared nothing else is carried past its rules.
        if (spoken !== 'tcp') this.#carryRequests(options, whole, spoken)
        else if (!isDeclared) this.#carryBytes(options, whole, '')
        else if (head.length > 0 || hasEnded) this.#carryRequests(options, whole, 'http1')
        else this.#carryRequests(options, whole, 'http1').drain() // it has been idle for long enough
      },
      onPeekClosed: (reason) => this.#onCarriedClosed(reason),
    })
    stream.resume()
  }

  #findServerName(options: ConnectionOptions): void {
    const { stream } = this.#connect
    const { reactor } = this.#context
    // Of TLS the client speaks first.
    const silenceMs = options.target.view.appProtocol === 'TLS' ? HANDSHAKE_TIMEOUT_MS : PEEK_TIMEOUT_MS
    new HelloPeek(stream, reactor, silenceMs, {
      onServerName: (serverName, head, hasEnded) =>
        this.#carryBytes(
          options,
          new PrefixedStream(stream, head, hasEnded, reactor, allocateBlock),
          serverName,
        ),
      onUnreadable: (refusal) => this.#cut(options, stream, refusal),
      onPeekClosed: (reason) => this.#onCarriedClosed(reason),
    })
    stream.resume()
  }

  #carryRequests(
    options: ConnectionOptions,
    stream: ByteStream,
    version: Exclude<Spoken, 'tcp'>,
  ): HttpConnection {
    const connection = new HttpConnection(options, stream, version)
    this.#carried = connection
    if (this.#isDraining) connection.drain()
    return connection
  }

  #carryBytes(options: ConnectionOptions, stream: ByteStream, serverName: string): void {
    const refusalNow = (): Refusal | null => refusalOf(options, serverName)
    const refusal = refusalNow()
    if (refusal !== null) {
      this.#cut(options, stream, refusal)
      return
    }
    this.#refusalNow = refusalNow
    this.#context.openBytes.add(this)
    this.#carried = new TcpConnection(options, stream, serverName)
  }

  recheck(): void {
    const refusal = this.#refusalNow?.() ?? null
    if (refusal === null || !(this.#carried instanceof TcpConnection)) return
    this.#carried.destroy(refuse('POLICY_CHANGED', refusal.detail))
  }

  /** It was accepted, and is not carried. */
  #cut(options: ConnectionOptions, stream: ByteStream, refusal: Refusal): void {
    stream.destroy(refusal)
    options.own?.cluster.close(refusal)
    this.#onCarriedClosed(refusal)
  }

  #onCarriedClosed(reason: CloseReason): void {
    if (this.#carried instanceof TcpConnection || reason.code !== 'OK') {
      const facts = this.#carried instanceof TcpConnection ? this.#carried : {}
      recordConnection(this.#context, this.#connect.authority, formatSpiffeId(this.#peer.id), reason, facts)
    }
    this.#over()
  }

  #refuse(refusal: Refusal): void {
    this.#connect.refuse(refusal)
    recordConnection(this.#context, this.#connect.authority, formatSpiffeId(this.#peer.id), refusal)
    this.#over()
  }

  #over(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#context.openBytes.delete(this)
    this.#onEnded(this)
  }
}

function isBytes({ isTcpRouted, view: { appProtocol } }: Target): boolean {
  return isTcpRouted || appProtocol === 'TCP' || appProtocol === 'TLS'
}

/** What the policies of its target, as they are now, have against a connection that nobody looks into; null: nothing. */
function refusalOf({ context, target, sender }: ConnectionOptions, serverName: string): Refusal | null {
  const { guard } = context.targets.get(target.view.authority)?.target ?? target
  const { code, policy } = guard.authorize(sender, null, serverName)
  return code === null ? null : refuse(code, policy)
}
