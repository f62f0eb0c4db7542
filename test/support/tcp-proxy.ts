// SPDX-License-Identifier: Apache-2.0
// A program that passes connections on, to be cut, stopped or slowed down: `tcp-proxy.ts <port> <to host> <to port>
// [slow ms]`. SIGUSR2 makes it slow, and fast again: then all bytes come so much later.
import { connect, createServer, type Socket } from 'node:net'

const [port, host = '', toPort, slowMs = '0'] = process.argv.slice(2)
let isSlow = false
process.on('SIGUSR2', () => {
  isSlow = !isSlow
})

/** Hands on in order; who is slow does not read less. */
function pass(from: Socket, to: Socket): void {
  let last = Promise.resolve()
  const later = (act: () => void): void => {
    const dueMs = performance.now() + (isSlow ? Number(slowMs) : 0)
    last = last.then(async () => {
      const waitMs = dueMs - performance.now()
      if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs))
      act()
    })
  }
  from.on('error', () => to.destroy())
  from.on('close', () => later(() => to.destroy()))
  from.on('data', (chunk: Buffer) => later(() => void to.write(chunk)))
  from.on('end', () => later(() => void to.end()))
}

createServer((near) => {
  const far = connect(Number(toPort), host)
  pass(near, far)
  pass(far, near)
}).listen(Number(port))
