// SPDX-License-Identifier: Apache-2.0
// The client's calls. A file of its own: loading gRPC takes longer than a request.
import { Client, credentials, Metadata } from '@grpc/grpc-js'
import type { Answer, HeaderPairs } from './fields.ts'
import { ECHO_METHOD } from './grpc-method.ts'

/** Calls one after the other, on one connection. One that succeeds counts as 200, as the suite has it; others throw. */
export function overGrpc(url: URL, headers: HeaderPairs, deadlineMs: number): () => Promise<Answer> {
  const client = new Client(url.host, credentials.createInsecure(), {
    'grpc.service_config_disable_resolution': 1,
  })
  const metadata = new Metadata()
  for (const [name, value] of headers) metadata.add(name, value)
  const { path, requestSerialize, responseDeserialize } = ECHO_METHOD
  return () =>
    new Promise((resolve, reject) => {
      client.makeUnaryRequest(
        ...([path, requestSerialize, responseDeserialize, 'echo', metadata] as const),
        { deadline: Date.now() + deadlineMs },
        (error, body = '') => (error === null ? resolve({ status: 200, headers: [], body }) : reject(error)),
      )
    })
}
