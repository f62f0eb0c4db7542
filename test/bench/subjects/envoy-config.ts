// SPDX-License-Identifier: Apache-2.0
// Envoy is configured as what it is compared with: mutual TLS 1.3, h2, the same windows, no limit of a default.
import t from 'tap'
import { destinationConfig, sourceConfig } from '../../../bench/subjects/envoy-config.ts'

const files = { certificate: '/c', key: '/k', root: '/r' }

for (const [name, config] of [
  ['source', sourceConfig(files, 0x539)],
  ['destination', destinationConfig(files)],
] as const) {
  t.test(`the ${name} speaks h2 over TLS 1.3 and trusts the root`, (t) => {
    const text = JSON.stringify(config)
    t.match(text, '"alpn_protocols":["h2"]')
    t.match(text, '"tls_minimum_protocol_version":"TLSv1_3"')
    t.match(text, '"trusted_ca":{"filename":"/r"}')
    t.match(text, '"initial_stream_window_size":4194304,"initial_connection_window_size":16777216')
    t.match(text, '"max_connections":100000')
    t.end()
  })
}

t.test('the destination demands a certificate and terminates CONNECT to the server only', (t) => {
  const text = JSON.stringify(destinationConfig(files))
  t.match(text, '"require_client_certificate":true')
  t.match(text, '"connect_matcher":{}')
  t.match(text, '"domains":["*:8080"]')
  t.match(text, '"address":"10.2.0.1","port_value":8080')
  t.end()
})

t.test('the source marks its own connections and asks for the original destination', (t) => {
  const text = JSON.stringify(sourceConfig(files, 0x539))
  t.match(text, '"int_value":1337')
  t.match(text, '"hostname":"%DOWNSTREAM_LOCAL_ADDRESS%"')
  t.match(text, '"upstream_port_override":15008')
  t.end()
})
