// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { readConfig } from '../../waypoint/config.ts'

t.test('what the controller writes into the pod of a waypoint is read', async (t) => {
  const { options, mistakes } = readConfig([], {
    SIDESTEP_GATEWAY_NAME: 'cart',
    SIDESTEP_CONTROLLER_ADDRESSES: 'a:15012',
    SIDESTEP_CONTROLLER_TOKEN: '/token',
    SIDESTEP_CONTROLLER_ROOTS: '/roots',
    SIDESTEP_TRUST_DOMAIN: 'td',
    SIDESTEP_CLUSTER_ID: 'c1',
    SIDESTEP_POD_NAME: 'cart-0',
    SIDESTEP_POD_NAMESPACE: 'shop',
    SIDESTEP_NODE_NAME: 'n1',
    SIDESTEP_INSTANCE_IP: '10.0.0.1',
    SIDESTEP_SERVICE_ACCOUNT: 'cart',
  })
  t.same(mistakes, [])
  t.match(options, { gatewayName: 'cart', podName: 'cart-0', serviceAccount: 'cart', trustDomain: 'td' })
})

t.test('without a controller there is no waypoint', async (t) => {
  t.match(readConfig([], {}).mistakes.join(), /SIDESTEP_CONTROLLER_ADDRESSES/)
})

t.test(
  'a form of the log that cannot be written, or that nobody writes, is a mistake at the start',
  async (t) => {
    const mistakes = (environment: Record<string, string>): readonly string[] =>
      readConfig([], { SIDESTEP_CONTROLLER_ADDRESSES: 'a:15012', ...environment }).mistakes
    const format = '%START_TIME% %RESPONSE_CODE%'
    t.same(mistakes({ SIDESTEP_ACCESS_LOG: 'text', SIDESTEP_ACCESS_LOG_FORMAT: format }), [])
    t.match(mistakes({ SIDESTEP_ACCESS_LOG: 'text', SIDESTEP_ACCESS_LOG_FORMAT: '%NONE%' }), [
      /ACCESS_LOG_FORMAT: has %NONE%/,
    ])
    t.match(mistakes({ SIDESTEP_ACCESS_LOG_FORMAT: format }), [/only with SIDESTEP_ACCESS_LOG=text/])
    t.match(mistakes({ SIDESTEP_ACCESS_LOG: 'xml' }), [/json, text, off/])
    t.match(mistakes({ SIDESTEP_OTLP_ENDPOINT: 'collector' }), [/SIDESTEP_OTLP_ENDPOINT: needs to be a URL/])
    t.same(mistakes({ OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318' }), [])
  },
)

t.test('how long a body is waited for is said in seconds, for ever by 0', async (t) => {
  const seconds = (text: string) =>
    readConfig([], { SIDESTEP_CONTROLLER_ADDRESSES: 'a:15012', SIDESTEP_BODY_TIMEOUT_SECONDS: text })
  t.equal(readConfig([], { SIDESTEP_CONTROLLER_ADDRESSES: 'a:15012' }).options.bodyTimeoutSeconds, 300)
  t.equal(seconds('0').options.bodyTimeoutSeconds, 0)
  t.match(seconds('-1').mistakes, [/BODY_TIMEOUT_SECONDS/])
})
