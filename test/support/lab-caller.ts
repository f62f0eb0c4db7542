// SPDX-License-Identifier: Apache-2.0
// Calls the HTTP service of cart all the time while something happens to a MeshLab.
import { type MeshLab, poll } from './mesh-lab.ts'

const CART_IP = '10.2.0.1'

/** Calls the HTTP service of cart until it is told to stop; tells what each call brought. */
export class Caller {
  readonly #lab: MeshLab
  readonly #work: Promise<void>
  readonly failures: string[] = []
  count = 0
  #isOver = false

  constructor(lab: MeshLab) {
    this.#lab = lab
    this.#work = this.#run()
  }

  async #run(): Promise<void> {
    while (!this.#isOver) {
      const text = await ask(this.#lab)
      this.count++
      if (!text.includes('200 OK')) this.failures.push(text)
    }
  }

  /** Waits for `more` calls from now on. */
  async calls(more: number): Promise<void> {
    const wanted = this.count + more
    await poll(`${more} calls`, () => this.count >= wanted || null)
  }

  async stop(): Promise<void> {
    this.#isOver = true
    await this.#work
  }
}

/** One call; what came back. */
export async function ask(lab: MeshLab): Promise<string> {
  const socket = lab.connect('front', CART_IP, 8080)
  socket.write('GET / HTTP/1.1\r\nhost: cart\r\nconnection: close\r\n\r\n')
  await socket.until('an answer', ({ isClosed, hasEnded }) => isClosed || hasEnded)
  socket.end()
  await socket.until('closed', ({ isClosed }) => isClosed)
  return socket.error === '' ? socket.text : `${socket.error} ${socket.text}`
}
