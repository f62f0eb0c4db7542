// SPDX-License-Identifier: Apache-2.0
// gRPC: one answer, or a stream of as many as were asked for; and grpc.health.v1, by which a kubelet asks.
import { Server, ServerCredentials } from '@grpc/grpc-js'
import './end-late.mjs'

const same = (bytes) => bytes
const form = {
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
}
const server = new Server()
server.addService(
  {
    get: { path: '/shop.Catalog/Get', requestStream: false, responseStream: false, ...form },
    list: { path: '/shop.Catalog/List', requestStream: false, responseStream: true, ...form },
  },
  {
    get: (call, answer) => answer(null, Buffer.from(`marker-of-catalog ${call.request}`)),
    list: (call) => {
      for (let at = 0; at < Number(`${call.request}`); at++)
        call.write(Buffer.from(`marker-of-catalog ${at}`))
      call.end()
    },
  },
)
/** SPEC grpc.health.v1 HealthCheckResponse: field 1, status, is SERVING. */
const SERVING = Buffer.from([0x08, 0x01])
const CHECK = { path: '/grpc.health.v1.Health/Check', requestStream: false, responseStream: false, ...form }
server.addService({ check: CHECK }, { check: (_call, answer) => answer(null, SERVING) })
server.bindAsync(`[::]:${process.env.PORT}`, ServerCredentials.createInsecure(), (error) => {
  if (error !== null) throw error
})
