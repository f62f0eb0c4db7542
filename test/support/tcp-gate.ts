// SPDX-License-Identifier: Apache-2.0
// A TCP relay that a test can shut: what is open breaks, what is new is refused, until it is opened again.
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

export class TcpGate {
  readonly #target: { readonly host: string; readonly port: number }
  readonly #sockets = new Set<Socket>()
  #server: Server | null = null
  #port = 0

  constructor(host: string, port: number) {
    this.#target = { host, port }
  }

  /** On 127.0.0.1; the same after it was shut. */
  get port(): number {
    return this.#port
  }

  async open(): Promise<void> {
    const server = createServer((socket) => this.#relay(socket))
    this.#server = server
    await new Promise<void>((resolve) => server.listen(this.#port, '127.0.0.1', resolve))
    this.#port = (server.address() as AddressInfo).port // as: TCP
  }

  async shut(): Promise<void> {
    const server = this.#server
    this.#server = null
    if (server === null) return
    const closed = new Promise<void>((resolve) => server.close(() => resolve()))
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }

  #relay(inbound: Socket): void {
    const outbound = connect(this.#target.port, this.#target.host)
    for (const [from, to] of [
      [inbound, outbound],
      [outbound, inbound],
    ] as const) {
      this.#sockets.add(from)
      from.on('error', () => from.destroy())
      from.on('close', () => {
        this.#sockets.delete(from)
        to.destroy()
      })
      from.pipe(to)
    }
  }
}
