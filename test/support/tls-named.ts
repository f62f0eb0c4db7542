// SPDX-License-Identifier: Apache-2.0
// Program inside a pod: a TLS server that says its name and what it was asked for, or a client that says what it was answered.
// usage: node tls-named.ts serve NAME PORT CERTIFICATE-FILE KEY-FILE
//        node tls-named.ts ask IP PORT SERVERNAME
import { readFileSync } from 'node:fs'
import { connect, createServer } from 'node:tls'

const [what = '', ...args] = process.argv.slice(2)

if (what === 'serve') {
  const [name = '', port = '0', certificate = '', key = ''] = args
  const server = createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, (socket) => {
    socket.on('error', () => {})
    socket.end(`${name} ${socket.servername || '-'}`)
  })
  server.on('tlsClientError', () => {})
  server.listen(Number(port), '0.0.0.0', () => process.stdout.write('up\n'))
  process.stdin.on('end', () => process.exit(0)).resume()
} else {
  const [host = '', port = '0', servername = ''] = args
  const named = servername === '' ? {} : { servername }
  const socket = connect({ host, port: Number(port), rejectUnauthorized: false, ...named })
  let text = ''
  socket.setEncoding('utf8')
  socket.on('data', (chunk: string) => {
    text += chunk
  })
  socket.on('error', () => {
    text ||= 'nothing'
  })
  socket.on('close', () => process.stdout.write(text || 'nothing'))
}
