// SPDX-License-Identifier: Apache-2.0
// Hostile callers of a real waypoint, and services that come and go: each gets its status and its reason, what they cost is bounded,
// and callers beside them are all answered.
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { CallerLoad } from '../support/caller-load.ts'
import { type LabRecord, type LabSocket, poll } from '../support/mesh-lab.ts'
import type { Silences } from '../support/silent-caller.ts'
import { END_HEADERS, FRAME_TYPE, frame, literals, PREFACE } from '../support/tunnel-attacker.ts'
import { SERVICES, WaypointMesh } from '../support/waypoint-mesh.ts'

/** All attacks together, and the windows of a body that its service does not read: far below what was sent. */
const MAX_GROWTH_KB = 80_000
const { vip: VIP } = SERVICES.web
const SILENT_CALLER = fileURLToPath(new URL('../support/silent-caller.ts', import.meta.url))
const SLOW_SERVICE = fileURLToPath(new URL('../support/slow-service.ts', import.meta.url))
/** A request's body of which nothing comes; and how long others are silent, who may. */
const BODY_TIMEOUT_SECONDS = 5
const SILENT_MS = 12_000
const EMPTY = Buffer.alloc(0)
const settings = frame(FRAME_TYPE.SETTINGS, 0, 0, EMPTY)
/** The whole of a part of an attack that is written at once. */
const PIECE_BYTES = 65_536

type Check = (t: Test, mesh: WaypointMesh) => Promise<void>

const isOver = ({ isClosed, hasEnded }: LabSocket): boolean => isClosed || hasEnded

/** Waits for a record that came after the first `known` of all. */
function recordOf(
  mesh: WaypointMesh,
  sinceMs: number,
  holds: (record: LabRecord) => boolean,
): Promise<LabRecord> {
  const seen = new Set<unknown>()
  return poll('its record', async () => {
    const records = await mesh.records()
    const later = records.filter((record) => Date.parse(String(record.time)) >= sinceMs)
    for (const { reason } of later) seen.add(reason)
    return later.findLast(holds) ?? null
  }).catch((error: Error) => {
    throw new Error(`${error.message}, of ${[...seen].join()}`)
  })
}

const post = (...lines: readonly string[]): string =>
  `${['POST /smuggled HTTP/1.1', 'host: web', ...lines, '', ''].join('\r\n')}0\r\n\r\nGET /hidden HTTP/1.1\r\nhost: web\r\n\r\n`

/** What is sent, and what it is answered with. */
const SMUGGLING: readonly (readonly [what: string, text: string, status: number, reason: string])[] = [
  ['CL.TE', post('content-length: 6', 'transfer-encoding: chunked'), 400, 'HTTP1_AMBIGUOUS'],
  ['TE.CL', post('transfer-encoding: chunked', 'content-length: 4'), 400, 'HTTP1_AMBIGUOUS'],
  ['TE.TE', post('transfer-encoding: chunked', 'transfer-encoding: x'), 501, 'HTTP_TRANSFER_CODING'],
  ['two lengths', post('content-length: 0', 'content-length: 44'), 400, 'HTTP1_AMBIGUOUS'],
  ['a bare LF', post('x: y\ntransfer-encoding: chunked'), 400, 'HTTP1_MALFORMED'],
  ['a bare CR', post('x: y\rtransfer-encoding: chunked'), 400, 'HTTP1_MALFORMED'],
  ['a folded line', post('transfer-encoding:', ' chunked'), 400, 'HTTP1_MALFORMED'],
  ['a space before the colon', post('transfer-encoding : chunked'), 400, 'HTTP1_MALFORMED'],
  [
    'absolute form of another host',
    'GET http://other/ HTTP/1.1\r\nhost: web\r\n\r\n',
    400,
    'HTTP1_AMBIGUOUS',
  ],
  [
    'a chunk of no number',
    'POST /smuggled HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n',
    400,
    'HTTP1_MALFORMED',
  ],
  [
    'a chunk with a long extension',
    `POST /smuggled HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n5;${'x'.repeat(400)}\r\n`,
    400,
    'HTTP1_MALFORMED',
  ],
  ['a huge head', post(`x: ${'y'.repeat(70_000)}`), 431, 'HTTP_HEADERS_TOO_LARGE'],
  [
    'too many fields',
    post(...Array.from({ length: 300 }, (_, index) => `x-${index}: y`)),
    431,
    'HTTP_HEADERS_TOO_LARGE',
  ],
]

const REQUEST = { ':method': 'GET', ':scheme': 'http', ':authority': 'web', ':path': '/flood' }
const request = (stream: number, fields: Readonly<Record<string, string>> = REQUEST): Buffer =>
  frame(FRAME_TYPE.HEADERS, END_HEADERS, stream, literals(fields))
const reset = (stream: number): Buffer => frame(FRAME_TYPE.RST_STREAM, 0, stream, Buffer.from([0, 0, 0, 8]))
const times = (count: number, make: (index: number) => Buffer): readonly Buffer[] =>
  Array.from({ length: count }, (_, index) => make(index))

/** What is sent after the preface, and the reason that the connection ends with. */
const FLOODS: readonly (readonly [what: string, frames: () => readonly Buffer[], reason: string])[] = [
  [
    'rapid reset',
    () => times(20_000, (at) => Buffer.concat([request(2 * at + 1), reset(2 * at + 1)])),
    'H2_FLOOD',
  ],
  ['settings', () => times(20_000, () => settings), 'H2_FLOOD'],
  ['pings', () => times(50_000, () => frame(FRAME_TYPE.PING, 0, 0, Buffer.alloc(8))), 'H2_FLOOD'],
  ['empty data', () => [request(1), ...times(50_000, () => frame(FRAME_TYPE.DATA, 0, 1, EMPTY))], 'H2_FLOOD'],
  [
    'headers that do not end',
    () => [
      frame(FRAME_TYPE.HEADERS, 0, 1, literals(REQUEST)),
      ...times(300, () => frame(FRAME_TYPE.CONTINUATION, 0, 1, literals({ 'x-flood': 'f'.repeat(16_000) }))),
    ],
    'H2_FLOOD',
  ],
]

const GONE_VIP = '10.96.0.60'
/** A service whose endpoints come and go. */
const flickering = (app: string): string =>
  '{apiVersion: v1, kind: Service, metadata: {name: flicker, namespace: shop, annotations: {sidestep.dev/waypoint: wp}}, spec: ' +
  `{selector: {app: ${app}}, clusterIP: ${GONE_VIP}, clusterIPs: [${GONE_VIP}], ` +
  `ports: [{name: http, port: 80, targetPort: ${SERVICES.web.port}}]}}`
const SLOW_ROUTE =
  '{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: web, namespace: shop}, spec: {hosts: [web], http: [' +
  '{match: [{uri: {prefix: /endless}}], timeout: 1s, route: [{destination: {host: web-v1, port: {number: 80}}}]}, ' +
  '{match: [{uri: {prefix: /slow/}}], route: [{destination: {host: web-v2, port: {number: 80}}}]}, ' +
  '{route: [{destination: {host: web-v1, port: {number: 80}}}]}]}}'

const CHECKS: Readonly<Record<string, Check>> = {
  'requests that are read in two ways are read in none': async (t, mesh) => {
    for (const [what, text, status, reason] of SMUGGLING) {
      const sinceMs = Date.now()
      const answer = await mesh.call('front', text)
      t.same([answer.status, answer.headers['x-sidestep-reason']], [status, reason], what)
      t.match(await recordOf(mesh, sinceMs, (record) => record.reason === reason), { status }, what)
    }
    t.notOk(
      (await mesh.records()).some(({ path }) => path === '/hidden'),
      'nothing that was hidden in one came out as a request',
    )
  },

  'floods of HTTP/2 end their connection': async (t, mesh) => {
    for (const [what, frames, reason] of FLOODS) {
      const sinceMs = Date.now()
      const socket = mesh.lab.connect('front', VIP, 80)
      socket.write(PREFACE + settings.toString('latin1'))
      let piece = ''
      for (const bytes of frames()) {
        piece += bytes.toString('latin1')
        if (piece.length < PIECE_BYTES) continue
        socket.write(piece)
        piece = ''
      }
      socket.write(piece)
      await socket.until('the end', isOver)
      t.match(await recordOf(mesh, sinceMs, (record) => record.reason === reason), { reason }, what)
      socket.destroy()
    }
  },

  'heads that come byte by byte, and bodies that do not end, are given up': async (t, mesh) => {
    const sinceMs = Date.now()
    const heads = Array.from({ length: 100 }, () => mesh.lab.connect('front', VIP, 80))
    for (const socket of heads) socket.write('GET /slow HTTP/1.1\r\nho')
    const bodies = Array.from({ length: 20 }, () => mesh.lab.connect('front', VIP, 80))
    for (const socket of bodies)
      socket.write('POST /endless HTTP/1.1\r\nhost: web\r\ncontent-length: 100000\r\n\r\nsome of it')
    for (const socket of bodies) await socket.until('an answer', ({ text }) => text.includes('\r\n\r\n'))
    t.ok(bodies.every(({ text }) => /^HTTP\/1\.1 504 [\s\S]*REQUEST_TIMEOUT/.test(text)))
    t.ok(await recordOf(mesh, sinceMs, ({ reason }) => reason === 'REQUEST_TIMEOUT'))
    const dribble = setInterval(() => {
      for (const socket of heads) socket.write('s')
    }, 1_000)
    for (const socket of heads) await socket.until('an answer', ({ text }) => text.includes('\r\n\r\n'))
    clearInterval(dribble)
    t.ok(heads.every(({ text }) => /^HTTP\/1\.1 408 [\s\S]*HTTP_HEAD_TIMEOUT/.test(text)))
    t.ok(await recordOf(mesh, sinceMs, ({ reason }) => reason === 'HTTP_HEAD_TIMEOUT'))
    for (const socket of [...heads, ...bodies]) socket.destroy()
  },

  'bodies of which nothing comes are given up, and no others that are silent': async (t, mesh) => {
    await mesh.stopService('v2')
    await mesh.startInCart('slow', '--no-warnings', SLOW_SERVICE, String(SERVICES['web-v2'].port))
    const sinceMs = Date.now()
    const args = ['--no-warnings', SILENT_CALLER, VIP, '80', String(SILENT_MS)]
    const running = mesh.run('front', process.execPath, ...args)
    const old = Array.from({ length: 20 }, () => mesh.lab.connect('front', VIP, 80))
    for (const socket of old)
      socket.write('POST /stalled HTTP/1.1\r\nhost: web\r\ncontent-length: 100\r\n\r\nsome of it')
    for (const socket of old) await socket.until('the end', isOver)
    t.ok(
      old.every(({ text }) => /^HTTP\/1\.1 408 [\s\S]*connection: close[\s\S]*HTTP_BODY_TIMEOUT/.test(text)),
    )
    const record = await recordOf(mesh, sinceMs, ({ reason }) => reason === 'HTTP_BODY_TIMEOUT')
    t.match(record, { status: 408, response_flags: 'SI', bytes_received: 10, path: '/stalled' })
    const silences = JSON.parse(await running) as Silences // as: what the caller writes
    const { stalled, ...others } = silences
    t.match(stalled, { status: 408, reason: 'HTTP_BODY_TIMEOUT', reset: 0 })
    t.ok(stalled.afterMs >= BODY_TIMEOUT_SECONDS * 1000, `after ${stalled.afterMs} ms`)
    for (const [name, silence] of Object.entries(others)) t.match(silence, { status: 200, reset: 0 }, name)
    t.equal(silences.answered.bytes, 'begun5'.length)
    t.equal(silences.unread.bytes, '8000000'.length, 'of a service that did not read for a while')
    const { body } = await mesh.admin('/metrics')
    t.match(body, /istio_requests_total\{[^}]*response_code="408"[^}]*response_flags="SI"[^}]*\} 21\n/)
    for (const socket of old) socket.destroy()
    await mesh.stopService('slow')
    await mesh.startService('v2')
  },

  'a body that never ends is passed on, and not kept': async (t, mesh) => {
    const pid = await mesh.dataPid()
    const beforeKb = residentKb(pid)
    const socket = mesh.lab.connect('front', VIP, 80)
    socket.write('POST /long HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n')
    const chunk = `10000\r\n${'x'.repeat(65_536)}\r\n`
    for (let sent = 0; sent < 30; sent++) {
      for (let index = 0; index < 16; index++) socket.write(chunk)
      await new Promise((resolve) => setImmediate(resolve))
    }
    t.equal((await mesh.get('front', '/beside')).status, 200)
    socket.write('0\r\n\r\n')
    await socket.until('an answer', ({ text }) => text.includes('"bytes"'))
    t.match(socket.text, new RegExp(`"bytes":${30 * 16 * 65_536}`))
    socket.destroy()
    const growthKb = residentKb(pid) - beforeKb
    t.ok(growthKb < 30_000, `${growthKb} KB for 30 MB`)
  },

  'endpoints that go away and come back': async (t, mesh) => {
    const ask = (): ReturnType<WaypointMesh['callAt']> =>
      mesh.callAt('front', GONE_VIP, 80, 'GET /flicker HTTP/1.1\r\nhost: flicker\r\n\r\n')
    for (const round of [1, 2]) {
      await mesh.configure([SLOW_ROUTE, flickering('nobody')], () => true)
      const none = await poll('nobody left', async () => {
        const answer = await ask()
        return answer.status === 503 ? answer : null
      })
      t.equal(none.headers['x-sidestep-reason'], 'NO_ENDPOINT', `round ${round}`)
      await mesh.configure([SLOW_ROUTE, flickering('cart')], () => true)
      t.ok(await poll('somebody again', async () => (await ask()).status === 200 || null))
    }
  },
}

function residentKb(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? Number.NaN)
}

t.setTimeout(240_000)
t.test('hostile callers of a waypoint', { timeout: 210_000 }, async (t) => {
  const options = { SIDESTEP_BODY_TIMEOUT_SECONDS: String(BODY_TIMEOUT_SECONDS) }
  const mesh = await WaypointMesh.startWith(t, () => options, SLOW_ROUTE, flickering('cart'))
  const honest = [new CallerLoad(t, mesh, 'batch', 4, 'keep'), new CallerLoad(t, mesh, 'batch', 2, 'new')]
  await Promise.all(honest.map((each) => each.more(100)))
  const pid = await mesh.dataPid()
  const beforeKb = residentKb(pid)
  for (const [name, check] of Object.entries(CHECKS)) {
    await t.test(name, async (t) => {
      await check(t, mesh)
      for (const each of honest) {
        await each.more(20)
        t.same((await each.progress()).failures, [], 'honest callers were all answered')
      }
    })
  }
  const growthKb = residentKb(pid) - beforeKb
  t.ok(growthKb < MAX_GROWTH_KB, `the data process has grown by ${growthKb} KB`)
  t.comment(`grown by ${growthKb} KB`)
  t.equal(await mesh.dataPid(), pid, 'and is still the same')
  await Promise.all(honest.map((each) => each.end()))
})
