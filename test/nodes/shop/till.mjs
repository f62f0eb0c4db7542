// SPDX-License-Identifier: Apache-2.0
// HTTP that ends as most programs do: told to, it takes nothing new from that moment and finishes what it has begun. What
// waits to be accepted it has begun: a listening socket that is closed resets those.
import { createServer } from 'node:http'
import { Server } from 'node:net'

const server = createServer((request, response) => {
  if (request.url === '/ready') return response.end('ready\n')
  setTimeout(() => response.end('marker-of-till\n'), 5)
}).listen(Number(process.env.PORT))
process.on('SIGTERM', () => {
  // Behind the events of the next turn of the loop, among them all that waits to be accepted. Not close() of HTTP: it ends
  // connections whose request has not been read yet.
  setImmediate(() => setImmediate(() => Server.prototype.close.call(server, () => process.exit(0))))
})
