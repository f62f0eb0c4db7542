// SPDX-License-Identifier: Apache-2.0
// HTTP that ends as most programs do: told to, it takes nothing new from that moment and finishes what it has begun. What
// waits to be accepted it has begun: a listening socket that is closed resets those. With ENDS=at-once it finishes nothing:
// it is gone with the signal, as programs are that do not look for it.
import { createServer } from 'node:http'
import { Server } from 'node:net'

const { PORT, MARKER, ENDS } = process.env
const server = createServer((request, response) => {
  if (request.url === '/ready') return response.end('ready\n')
  setTimeout(() => response.end(`marker-of-${MARKER}\n`), 5)
}).listen(Number(PORT))
process.on('SIGTERM', () => {
  if (ENDS === 'at-once') process.exit(0)
  // Behind the events of the next turn of the loop, among them all that waits to be accepted. Not close() of HTTP: it ends
  // connections whose request has not been read yet.
  setImmediate(() => setImmediate(() => Server.prototype.close.call(server, () => process.exit(0))))
})
