// SPDX-License-Identifier: Apache-2.0
// gRPC as HTTP sees it.
import fc from 'fast-check'
import t from 'tap'
import {
  grpcMessage,
  grpcStatusOfHttp,
  isGrpc,
  MAX_GRPC_MESSAGE_BYTES,
} from '../../../mesh/http/grpc-status.ts'

t.test('a status of HTTP means what the table of gRPC says', async (t) => {
  const table = [
    [400, 13],
    [401, 16],
    [403, 7],
    [404, 12],
    [429, 14],
    [502, 14],
    [503, 14],
    [504, 14],
    [200, 2],
    [302, 2],
    [409, 2],
    [500, 2],
  ] as const
  for (const [http, grpc] of table) t.equal(grpcStatusOfHttp(http), grpc, `${http}`)
})

t.test('calls are known by their content type', async (t) => {
  for (const type of [
    'application/grpc',
    'application/grpc+proto',
    'application/grpc; charset=utf-8',
    'Application/GRPC',
  ])
    t.ok(isGrpc(['x', 'y', 'content-type', type]), type)
  for (const type of ['application/grpc-web', 'application/grpcx', 'text/application/grpc', ''])
    t.notOk(isGrpc(['content-type', type]), type)
  t.notOk(isGrpc([]))
})

t.test('a message is printable, decodes to itself, and has a limit', async (t) => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 400 }), (text) => {
      const encoded = grpcMessage(text)
      const whole = Buffer.from(text).toString()
      const decoded = decodeURIComponent(encoded)
      return (
        /^[ -~]*$/.test(encoded) && whole.startsWith(decoded) && (decoded === whole || whole.length > 250)
      )
    }),
  )
  t.equal(grpcMessage('a%b\n\u{1f600}~ '), 'a%25b%0A%F0%9F%98%80~ ')
  t.equal(grpcMessage('\ud800'), '%EF%BF%BD')
  t.equal(grpcMessage('x'.repeat(MAX_GRPC_MESSAGE_BYTES)).length, MAX_GRPC_MESSAGE_BYTES)
  t.equal(grpcMessage(`${'x'.repeat(MAX_GRPC_MESSAGE_BYTES - 1)}üx`).length, MAX_GRPC_MESSAGE_BYTES - 1)
})
