// SPDX-License-Identifier: Apache-2.0
// gRPC: one answer, or a stream of as many as were asked for.
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
server.bindAsync(`[::]:${process.env.PORT}`, ServerCredentials.createInsecure(), (error) => {
  if (error !== null) throw error
})
