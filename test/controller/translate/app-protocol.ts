// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { appProtocolOf } from '../../../controller/translate/app-protocol.ts'
import { AppProtocol } from '../../../proto/generated/istio/workload_pb.js'

t.test('what is declared counts, else the beginning of the name', async (t) => {
  const cases: readonly [string, string, AppProtocol][] = [
    ['', 'http', AppProtocol.HTTP11],
    ['', 'http-web', AppProtocol.HTTP11],
    ['', 'http2-web', AppProtocol.HTTP2],
    ['', 'grpc', AppProtocol.GRPC],
    ['', 'grpc-web', AppProtocol.HTTP11],
    ['', 'grpc-web-a', AppProtocol.HTTP11],
    ['', 'grpc-webhook', AppProtocol.GRPC],
    ['', 'https-a', AppProtocol.TLS],
    ['', 'redis', AppProtocol.TCP],
    ['', 'httpd', AppProtocol.UNKNOWN],
    ['', '', AppProtocol.UNKNOWN],
    ['HTTP', 'tcp', AppProtocol.HTTP11],
    ['kubernetes.io/h2c', 'tcp', AppProtocol.HTTP2],
    ['kubernetes.io/wss', '', AppProtocol.TLS],
    ['example.com/own', 'http', AppProtocol.UNKNOWN],
  ]
  for (const [declared, name, expected] of cases) {
    t.equal(appProtocolOf(declared, name), expected, `${declared} ${name}`)
  }
})
