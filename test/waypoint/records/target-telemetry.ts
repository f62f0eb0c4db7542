// SPDX-License-Identifier: Apache-2.0
import { create } from '@bufbuild/protobuf'
import t from 'tap'
import { RequestTelemetrySchema } from '../../../proto/generated/sidestep/v1/telemetry_pb.js'
import { TargetTelemetry } from '../../../waypoint/records/target-telemetry.ts'
import { loggedRequest, loggedSource } from '../../support/logged.ts'

const logging = (accessLogging: { readonly isDisabled?: boolean; readonly expression?: string }) =>
  new TargetTelemetry(create(RequestTelemetrySchema, { accessLogging }))

t.test('nothing said: all is logged, and sampled as the waypoint does', async (t) => {
  const telemetry = new TargetTelemetry(create(RequestTelemetrySchema, {}))
  t.ok(telemetry.isLogged(loggedRequest(), loggedSource()))
  t.strictSame(telemetry.trace, { samplesPerMillion: null, isReported: true })
  t.equal(telemetry.tags.length, 0)
})

t.test('a log that is off is off, one with an expression has what is meant', async (t) => {
  t.notOk(logging({ isDisabled: true }).isLogged(loggedRequest(), loggedSource()))
  const errors = logging({ expression: 'response.code >= 400' })
  t.notOk(errors.isLogged(loggedRequest(), loggedSource()))
  t.ok(errors.isLogged(loggedRequest({ status: 404 }), loggedSource()))
  t.notOk(errors.isLogged(loggedRequest({ status: 0 }), loggedSource()), 'nothing was answered')
  t.ok(logging({ expression: 'of a later version' }).isLogged(loggedRequest(), loggedSource()))
})

t.test('expressions see a request as it came', async (t) => {
  const request = loggedRequest({ grpcStatus: 5 })
  for (const expression of [
    'response.grpc_status == 5',
    'request.size == 3 && response.size == 5',
    'request.method == "GET"',
    'request.path == "/items?token=1" && request.url_path == "/items"',
    'request.host == "web"',
    'request.useragent.startsWith("curl")',
    'request.id == "id-1"',
    'request.protocol == "HTTP/1.1"',
    'response.flags == "-"',
    'source.address == "10.1.0.1"',
    'source.principal.endsWith("/sa/front") && connection.mtls',
    'request.headers["User-Agent"] == "curl/8" && response.headers["server"] == "cart"',
  ]) {
    t.ok(logging({ expression }).isLogged(request, loggedSource()), expression)
    t.notOk(logging({ expression: `!(${expression})` }).isLogged(request, loggedSource()), expression)
  }
})

t.test('traces: how many, whether they are reported, with which tags', async (t) => {
  const { trace, tags } = new TargetTelemetry(
    create(RequestTelemetrySchema, {
      tracing: { samplesPerMillion: 5, disablesReporting: true, tags: [{ name: 'a', value: 'b' }] },
    }),
  )
  t.strictSame(trace, { samplesPerMillion: 5, isReported: false })
  t.match(tags, [{ name: 'a', header: '', value: 'b' }])
})
