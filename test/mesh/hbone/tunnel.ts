// SPDX-License-Identifier: Apache-2.0
// TunnelClient and TunnelServer against each other, and each against raw frames.
import t from 'tap'
import { isRefusal, refuse } from '../../../mesh/errors/refusal.ts'
import { ConnectAttempt } from '../../../mesh/hbone/connect-attempt.ts'
import type { TunnelClient } from '../../../mesh/hbone/tunnel-client.ts'
import { send } from '../../support/h2-pair.ts'
import { connectTunnel, Outcome } from '../../support/hbone-pair.ts'

const REQUEST = {
  authority: '10.0.0.7:8080',
  baggage: 'k8s.namespace.name=here',
  forwarded: 'for="10.0.0.1:5"',
  traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00',
}

function connect(client: TunnelClient, authority = REQUEST.authority): [Outcome, ConnectAttempt] {
  const outcome = new Outcome()
  outcome.isInCall = true
  const attempt = client.openConnect({ ...REQUEST, authority }, outcome)
  outcome.isInCall = false
  if (isRefusal(attempt)) throw new Error(attempt.detail)
  return [outcome, attempt]
}

t.test('a CONNECT becomes a two-way stream after 200, with the claims of both sides', async (t) => {
  const { scheduler, client, serverSays } = connectTunnel()
  t.equal(client.state, 'ready')
  const [outcome] = connect(client)
  serverSays.decide = () => {}
  scheduler.runUntilIdle()
  const request = serverSays.connects[0]
  if (request === undefined) throw new Error('no request')
  t.same(request.target, { kind: 'target', host: '10.0.0.7', port: 8080, isIp: true })
  t.same(
    [request.baggage, request.forwarded, request.traceparent, request.forwardedNetwork],
    [...[REQUEST.baggage, REQUEST.forwarded, REQUEST.traceparent, '']],
  )
  t.equal(outcome.isDecided, false, 'no answer before the application is connected')
  request.accept('k8s.namespace.name=there')
  scheduler.runUntilIdle()
  t.equal(outcome.baggage, 'k8s.namespace.name=there')
  if (outcome.stream === null) throw new Error('not connected')
  send(outcome.stream, 'GET')
  outcome.stream.end()
  scheduler.runUntilIdle()
  t.same(serverSays.records[0]?.events, ['data', 'end'])
  send(request.stream, 'answer after FIN')
  request.stream.end()
  scheduler.runUntilIdle()
  t.same(outcome.record.events, ['data', 'end', 'close'])
  t.equal(outcome.record.text(), 'answer after FIN')
  t.equal(outcome.record.reason?.code, 'OK')
  t.equal(client.openStreamCount, 0)
})

t.test('a refusal reaches the client as a reason, and the tunnel goes on', async (t) => {
  const { scheduler, client, server, serverSays } = connectTunnel()
  const cases = {
    POLICY_NO_ALLOW: 'POLICY_DENY',
    ENDPOINT_REFUSED: 'ENDPOINT_REFUSED',
    CONNECT_DESTINATION: 'TUNNEL_REFUSED',
  } as const
  for (const [given, seen] of Object.entries(cases)) {
    serverSays.decide = (request) => request.refuse(refuse(given as keyof typeof cases)) // as: a key of the literal
    const [outcome] = connect(client)
    scheduler.runUntilIdle()
    t.equal(outcome.refusal?.code, seen, given)
    t.equal(client.openStreamCount + server.openStreamCount, 0, given)
  }
  for (let i = 0; i < 2_000; i++) {
    serverSays.decide = (request) => request.refuse(refuse('POLICY_DENY'))
    connect(client)
    scheduler.runUntilIdle()
  }
  t.equal(client.state, 'ready', 'thousands of denials are no flood')
})

t.test('a request that is malformed is answered 400 before the owner sees it', async (t) => {
  const { scheduler, client, serverSays } = connectTunnel()
  for (const authority of ['nowhere', '10.0.0.7:0', '[::1:80']) {
    const [outcome] = connect(client, authority)
    scheduler.runUntilIdle()
    t.match(outcome.refusal, { code: 'TUNNEL_REFUSED', detail: 'status 400' }, authority)
  }
  t.equal(serverSays.malformed.length, 3)
  t.equal(serverSays.connects.length, 0)
})

t.test('a client that gives up before the answer cancels the server’s work', async (t) => {
  const { scheduler, client, serverSays } = connectTunnel()
  serverSays.decide = () => {}
  const [outcome, attempt] = connect(client)
  scheduler.runUntilIdle()
  attempt.cancel()
  attempt.cancel()
  scheduler.runUntilIdle()
  t.equal(outcome.isDecided, false)
  t.same(serverSays.records[0]?.reason, { code: 'STREAM_RESET', detail: 'cancel' })
  serverSays.connects[0]?.accept('')
  scheduler.runUntilIdle()
  t.equal(outcome.isDecided, false, 'a late answer changes nothing')
})

t.test('no answer within the deadline is CONNECT_TIMEOUT', async (t) => {
  const { scheduler, client, serverSays } = connectTunnel()
  serverSays.decide = () => {}
  const [outcome] = connect(client)
  scheduler.advance(11_999)
  t.equal(outcome.isDecided, false)
  scheduler.advance(1)
  t.equal(outcome.refusal?.code, 'CONNECT_TIMEOUT')
})

t.test('a stream cut by the other side ends with STREAM_RESET', async (t) => {
  const { scheduler, client, serverSays } = connectTunnel()
  const [outcome] = connect(client)
  scheduler.runUntilIdle()
  serverSays.connects[0]?.stream.destroy({ code: 'POLICY_CHANGED', detail: '' })
  scheduler.runUntilIdle()
  t.same(outcome.record.events, ['close'])
  t.same(outcome.record.reason, { code: 'STREAM_RESET', detail: 'cancel' })
  t.equal(client.state, 'ready')
})

t.test('both ends ping, and a silent peer is dropped after 20 s', async (t) => {
  const { scheduler, client, server, transports, clientSays, serverSays } = connectTunnel()
  scheduler.advance(600_000)
  t.equal(client.state, 'ready')
  t.equal(client.roundTripMs, 0)
  t.equal(server.isDraining, false)
  const [outcome] = connect(client)
  scheduler.runUntilIdle()
  // The connection stays open but nothing gets through.
  transports[0].pause()
  transports[1].pause()
  scheduler.advance(40_000)
  t.equal(clientSays.reason?.code, 'PEER_UNRESPONSIVE')
  t.equal(serverSays.reason?.code, 'PEER_UNRESPONSIVE')
  t.equal(outcome.record.reason?.code, 'PEER_UNRESPONSIVE')
  scheduler.advance(10_000)
  t.equal(scheduler.timerCount, 0)
})

t.test('a draining server tells its client, and open streams go on', async (t) => {
  const { scheduler, client, server, clientSays, serverSays } = connectTunnel()
  const [outcome] = connect(client)
  scheduler.runUntilIdle()
  server.drain()
  scheduler.runUntilIdle()
  t.equal(client.state, 'draining')
  t.same(clientSays.events, ['ready', 'draining'])
  t.match(client.openConnect(REQUEST, new Outcome()), { kind: 'refusal', code: 'DRAIN' })
  outcome.stream?.end()
  serverSays.connects[0]?.stream.end()
  scheduler.runUntilIdle()
  t.equal(clientSays.reason?.code, 'OK')
  t.equal(serverSays.reason?.code, 'OK')
  t.equal(client.state, 'closed')
})

t.test('destroying a client refuses what waits and ends what runs', async (t) => {
  const { scheduler, client, serverSays } = connectTunnel()
  const [running] = connect(client)
  scheduler.runUntilIdle()
  serverSays.decide = () => {}
  const [waiting] = connect(client)
  scheduler.runUntilIdle()
  client.destroy({ code: 'CERT_REVOKED', detail: '' })
  scheduler.runUntilIdle()
  t.equal(running.record.reason?.code, 'CERT_REVOKED')
  t.equal(waiting.refusal?.code, 'CERT_REVOKED')
  t.equal(client.state, 'closed')
  client.destroy({ code: 'OK', detail: '' })
  client.drain()
})

t.test('a client keeps to its own limit of streams', async (t) => {
  const { scheduler, client } = connectTunnel()
  for (let i = 0; i < 100; i++) connect(client)
  t.equal(client.hasRoom, false)
  t.match(client.openConnect(REQUEST, new Outcome()), { kind: 'refusal', code: 'LIMIT_CONNECTION' })
  scheduler.runUntilIdle()
  t.equal(client.openStreamCount, 100)
  t.ok(ConnectAttempt)
})
