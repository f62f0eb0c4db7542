// SPDX-License-Identifier: Apache-2.0
// What a port speaks: declared by appProtocol, by Istio's protocol field, or by the beginning of the port's name.
import { AppProtocol } from '../../proto/generated/istio/workload_pb.js'

const PROTOCOLS: ReadonlyMap<string, AppProtocol> = new Map([
  ['http', AppProtocol.HTTP11],
  ['http2', AppProtocol.HTTP2],
  ['grpc', AppProtocol.GRPC],
  ['grpc-web', AppProtocol.HTTP11],
  ['https', AppProtocol.TLS],
  ['tls', AppProtocol.TLS],
  ['tcp', AppProtocol.TCP],
  ['mongo', AppProtocol.TCP],
  ['mysql', AppProtocol.TCP],
  ['redis', AppProtocol.TCP],
  ['kubernetes.io/h2c', AppProtocol.HTTP2],
  ['kubernetes.io/ws', AppProtocol.HTTP11],
  ['kubernetes.io/wss', AppProtocol.TLS],
  ['http_proxy', AppProtocol.HTTP11],
])

/** UNKNOWN when neither says it. An appProtocol that we do not know is not second-guessed by the name. */
export function appProtocolOf(declared: string, portName: string): AppProtocol {
  if (declared !== '') return PROTOCOLS.get(declared.toLowerCase()) ?? AppProtocol.UNKNOWN
  const name = portName.toLowerCase()
  if (name === 'grpc-web' || name.startsWith('grpc-web-')) return AppProtocol.HTTP11
  return PROTOCOLS.get(name.split('-', 1)[0] ?? '') ?? AppProtocol.UNKNOWN
}
