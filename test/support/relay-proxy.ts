// SPDX-License-Identifier: Apache-2.0
// A proxy on real sockets: what comes by one version of HTTP goes on by another through mesh/http/relay.ts, and nothing is decided.
import { isRefusal } from '../../mesh/errors/refusal.ts'
import { H2Session } from '../../mesh/h2/session.ts'
import type { LocalSettings } from '../../mesh/h2/settings.ts'
import { type HeaderList, pseudoHeader } from '../../mesh/http/header-list.ts'
import type { HttpStream } from '../../mesh/http/http-stream.ts'
import { reasonAnswer } from '../../mesh/http/reason-answer.ts'
import { Http1ClientSession } from '../../mesh/http1/client-session.ts'
import type { CloseReason } from '../../mesh/reactor/byte-stream.ts'
import type { TcpSocket } from '../../mesh/reactor/tcp-socket.ts'
import { HttpRelay } from './http-relay.ts'
import { serve } from './http-wire.ts'
import { ReactorHost } from './reactor-host.ts'
import type { Versions } from './relay-pair.ts'

type UpstreamSession = Http1ClientSession | H2Session

export class RelayProxy {
  readonly port: number
  /** Connections made to the upstream. */
  connectCount = 0
  /** All exchanges so far. */
  readonly relays: HttpRelay[] = []
  /** How exchanges ended, `OK` or not, in that order. */
  readonly reasons: CloseReason[] = []
  readonly #host = new ReactorHost()
  readonly #up: Versions['up']
  readonly #upstreamPort: number
  readonly #local: Partial<LocalSettings>
  /** Takes the next request. */
  #idle: UpstreamSession | null = null
  readonly #sessions = new Set<UpstreamSession>()

  constructor({ down, up }: Versions, upstreamPort: number, local: Partial<LocalSettings> = {}) {
    this.#up = up
    this.#upstreamPort = upstreamPort
    this.#local = local
    const forward = (stream: HttpStream, headers: HeaderList, isEnd: boolean) =>
      this.#forward(stream, headers, isEnd)
    this.port = this.#host.listen((socket) => serve(down, socket, this.#host.resources, forward, local))
  }

  close(): void {
    for (const session of this.#sessions) session.destroy({ code: 'SHUTDOWN', detail: '' })
    this.#host.close()
  }

  #forward(stream: HttpStream, headers: HeaderList, isEnd: boolean): void {
    const session = this.#take()
    if (session !== null) {
      this.#exchange(session, stream, headers, isEnd)
      return
    }
    this.connectCount++
    this.#host.connect(
      this.#upstreamPort,
      (socket) => this.#exchange(this.#open(socket), stream, headers, isEnd),
      ({ code }) => stream.sendHeaders(reasonAnswer(headers, code), true),
    )
  }

  #take(): UpstreamSession | null {
    const idle = this.#idle
    if (idle instanceof Http1ClientSession) this.#idle = null
    const isUsable = idle instanceof H2Session ? !idle.isDraining : idle?.isIdle === true
    return isUsable ? idle : null
  }

  #open(transport: TcpSocket): UpstreamSession {
    const { resources } = this.#host
    const onClose = () => void this.#sessions.delete(session)
    const onIdle = () => {
      this.#idle = session
    }
    const handler = { onStream() {}, onPeerSettings() {}, onGoaway() {}, onIdle, onClose }
    const session: UpstreamSession =
      this.#up === 'h1'
        ? new Http1ClientSession({ transport, resources, handler })
        : new H2Session({ role: 'client', transport, resources, handler, local: this.#local })
    if (session instanceof H2Session) this.#idle = session
    this.#sessions.add(session)
    return session
  }

  #exchange(session: UpstreamSession, down: HttpStream, headers: HeaderList, isEnd: boolean): void {
    const up = session.openStream(headers, isEnd)
    if (isRefusal(up)) {
      down.sendHeaders(reasonAnswer(headers, up.code), true)
      return
    }
    const owner = {
      onAnswer: (answer: HeaderList) => answer,
      onUnanswered: ({ code }: CloseReason) => down.sendHeaders(reasonAnswer(headers, code), true),
      onRelayClosed: (reason: CloseReason) => void this.reasons.push(reason),
    }
    this.relays.push(new HttpRelay(down, up, owner, pseudoHeader(headers, ':method') === 'CONNECT'))
  }
}
