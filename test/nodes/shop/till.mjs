// SPDX-License-Identifier: Apache-2.0
// HTTP that ends as most programs do: told to, it takes nothing new from that moment and finishes what it has begun.
import { createServer } from 'node:http'

const server = createServer((request, response) => {
  if (request.url === '/ready') return response.end('ready\n')
  setTimeout(() => response.end('marker-of-till\n'), 5)
}).listen(Number(process.env.PORT))
process.on('SIGTERM', () => {
  server.close(() => process.exit(0))
  server.closeIdleConnections()
})
