// SPDX-License-Identifier: Apache-2.0
// The echo of the conformance suite's pods: answers every request with what it has seen of it. Takes the options that the
// suite's manifests give: --port for HTTP/1.1, of these --tls with a certificate (HTTP/2 too), --grpc, --tcp.
import { readFileSync } from 'node:fs'
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http'
import {
  createSecureServer,
  type Http2SecureServer,
  type Http2ServerRequest,
  type Http2ServerResponse,
} from 'node:http2'
import { createServer as createTcpServer, type Server } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { parseArgs } from 'node:util'
import { Server as GrpcServer, type handleUnaryCall, ServerCredentials } from '@grpc/grpc-js'
import { echoText, headerPairs } from './fields.ts'
import { ECHO_METHOD } from './grpc-method.ts'

const ports = { type: 'string', multiple: true, default: [] as string[] } as const
const { values } = parseArgs({
  options: {
    port: { ...ports, default: ['8080'] }, // the suite's pods that only call are told nothing
    ...{ tls: ports, grpc: ports, tcp: ports },
    crt: { type: 'string', default: '' },
    key: { type: 'string', default: '' },
  },
})

function answer(
  port: number,
  request: IncomingMessage | Http2ServerRequest,
  response: ServerResponse | Http2ServerResponse,
): void {
  const alpn = (request.socket as Partial<TLSSocket>).alpnProtocol // as: there with TLS only
  const text = echoText({
    port,
    host: request.headers[':authority']?.toString() ?? request.headers.host ?? '',
    url: request.url ?? '',
    method: request.method ?? '',
    protocol: `HTTP/${request.httpVersion}`,
    alpn: typeof alpn === 'string' ? alpn : '',
    callerIp: request.socket.remoteAddress ?? '',
    headers: headerPairs(request.rawHeaders),
  })
  request.resume()
  response.setHeader('content-type', 'text/plain')
  response.end(text)
}

/** A server of HTTP. It may not close a connection that a proxy keeps for its next request. */
function httpServer(port: number): Server | Http2SecureServer {
  if (!values.tls.includes(String(port)))
    return createHttpServer({ keepAliveTimeout: 0 }, (request, response) => answer(port, request, response))
  const [cert, key] = [readFileSync(values.crt), readFileSync(values.key)]
  return createSecureServer({ cert, key, allowHTTP1: true }, (request, response) =>
    answer(port, request, response),
  )
}

/** Says the text of the call's headers. */
const echo =
  (port: number): handleUnaryCall<string, string> =>
  (call, callback) => {
    const seen = {
      ...{ port, host: call.getHost(), url: call.getPath(), method: 'POST', protocol: 'GRPC', alpn: '' },
      callerIp: call.getPeer(),
      headers: Object.entries(call.metadata.toJSON()).flatMap(([name, values]) =>
        values.map((value) => [name, String(value)] as const),
      ),
    }
    callback(null, echoText(seen))
  }

for (const port of values.port.map(Number)) httpServer(port).listen(port)
for (const port of values.tcp.map(Number))
  createTcpServer((socket) => {
    socket.on('error', () => {})
    socket.write(
      echoText({ port, host: '', url: '', method: '', protocol: 'TCP', alpn: '', callerIp: '', headers: [] }),
    )
    socket.pipe(socket)
  }).listen(port)
for (const port of values.grpc.map(Number)) {
  const server = new GrpcServer()
  server.addService({ echo: ECHO_METHOD }, { echo: echo(port) })
  server.bindAsync(`[::]:${port}`, ServerCredentials.createInsecure(), (error) => {
    if (error !== null) throw error
  })
}
