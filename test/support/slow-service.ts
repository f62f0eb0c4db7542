// SPDX-License-Identifier: Apache-2.0
// A service of HTTP/1.1 that takes its time: `/slow/answered` begins its answer with the request and ends it with the request;
// all else is read only after `?delay=` milliseconds, and answered with how many bytes it had. Ends with its parent.
// usage: node slow-service.ts PORT
import { createServer } from 'node:http'

const server = createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://service')
  let bytes = 0
  const read = (): void => {
    request.on('data', ({ length }: Buffer) => {
      bytes += length
    })
    request.on('end', () => response.end(String(bytes)))
  }
  if (pathname === '/slow/answered') {
    response.write('begun')
    read()
  } else setTimeout(read, Number(searchParams.get('delay') ?? '0'))
})
server.listen(Number(process.argv[2]), '0.0.0.0', () => process.stdout.write('up\n'))
process.stdin.on('end', () => process.exit(0)).resume()
