// SPDX-License-Identifier: Apache-2.0
// A program that passes connections on, to be cut: `tcp-proxy.ts <port> <to host> <to port>`.
import { connect, createServer } from 'node:net'

const [port, host = '', toPort] = process.argv.slice(2)
createServer((near) => {
  const far = connect(Number(toPort), host)
  for (const [from, to] of [
    [near, far],
    [far, near],
  ] as const) {
    from.on('error', () => to.destroy())
    from.on('close', () => to.destroy())
    from.pipe(to)
  }
}).listen(Number(port))
