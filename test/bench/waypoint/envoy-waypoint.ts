// SPDX-License-Identifier: Apache-2.0
// Envoy as a waypoint is asked for the same as ours: mutual TLS, the services' addresses, as many rules, no limit.
import t from 'tap'
import { CASES, prefixOf, serviceIp } from '../../../bench/waypoint/cases.ts'
import { waypointConfig } from '../../../bench/waypoint/envoy-waypoint.ts'

const text = JSON.stringify(waypointConfig({ certificate: '/c', key: '/k', root: '/r' }, '{"keys":[]}'))
const count = (part: string): number => text.split(part).length - 1

t.test('tunnels need a certificate, and end at an internal listener for each service', (t) => {
  t.match(text, '"require_client_certificate":true')
  for (const of of CASES) {
    t.match(text, `"domains":["${serviceIp('envoy', of)}:80"]`)
    t.equal(count(`"server_listener_name":"main-internal-${of.key}"`), 1)
  }
  t.end()
})

t.test('each service has its rules, and all lead to a server without a limit', (t) => {
  t.equal(count(`{"prefix":"${prefixOf(0)}"}`), CASES.length)
  t.equal(count(`{"prefix":"${prefixOf(999)}"}`), 1)
  t.equal(count('"max_connections":100000'), CASES.length + 2)
  t.match(text, '"address":"10.2.0.1","port_value":8080')
  t.equal(count('"cluster":"grpc-server"'), 1)
  t.end()
})

t.test('one service asks for a token and decides by it', (t) => {
  t.equal(count('"inline_string":"{\\"keys\\":[]}"'), 1)
  t.equal(count('jwt_authn.v3.JwtAuthentication'), 1)
  t.equal(count('rbac.v3.RBAC'), 1)
  t.end()
})
