// SPDX-License-Identifier: Apache-2.0
// A reactor that turns with the event loop of a test, so that real sockets of ours and Node's own peers share one process.
import { setImmediate as nextTick } from 'node:timers/promises'
import { SessionResources } from '../../mesh/h2/session-resources.ts'
import type { CloseReason } from '../../mesh/reactor/byte-stream.ts'
import { SOCK_STREAM } from '../../mesh/reactor/ffi/constants.ts'
import { allocateBlock } from '../../mesh/reactor/ffi/native.ts'
import { Reactor } from '../../mesh/reactor/reactor.ts'
import { createSocket, localAddress } from '../../mesh/reactor/socket-options.ts'
import { startConnect } from '../../mesh/reactor/tcp-connect.ts'
import { openListener, TcpListener } from '../../mesh/reactor/tcp-listener.ts'
import { TcpSocket } from '../../mesh/reactor/tcp-socket.ts'
import { ignoringHandler } from './reactor-pairs.ts'

const CONNECT_MS = 2_000

export class ReactorHost {
  readonly reactor = new Reactor()
  readonly resources = new SessionResources({ scheduler: this.reactor, allocateBlock })
  readonly #listeners: TcpListener[] = []
  #isClosed = false

  constructor() {
    void this.#run()
  }

  /** Accepts on a port of loopback, which is returned. */
  listen(onSocket: (socket: TcpSocket) => void): number {
    const fd = openListener('127.0.0.1', 0)
    const onAccept = (accepted: number) => onSocket(new TcpSocket(this.reactor, accepted, ignoringHandler))
    this.#listeners.push(new TcpListener(this.reactor, fd, { onAccept, onAcceptRefused() {} }, false))
    return localAddress(fd)?.port ?? 0
  }

  connect(
    port: number,
    onSocket: (socket: TcpSocket) => void,
    onConnectFailed: (reason: CloseReason) => void,
  ): void {
    startConnect(this.reactor, createSocket(2, SOCK_STREAM), '127.0.0.1', port, CONNECT_MS, {
      onConnected: (fd) => {
        this.reactor.unwatch(fd)
        onSocket(new TcpSocket(this.reactor, fd, ignoringHandler))
      },
      onConnectFailed,
    })
  }

  close(): void {
    this.#isClosed = true
    for (const listener of this.#listeners) listener.close()
  }

  async #run(): Promise<void> {
    while (!this.#isClosed) {
      this.reactor.runTurn(0)
      await nextTick()
    }
    this.reactor.runTurn(0)
    this.reactor.destroy()
  }
}
