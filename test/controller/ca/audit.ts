// SPDX-License-Identifier: Apache-2.0
import { chmodSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import {
  type AuditEvent,
  AuditLog,
  type AuditSink,
  auditLine,
  MAX_UNWRITTEN_LINES,
  openAuditFile,
} from '../../../controller/ca/audit.ts'
import { CART } from '../../support/ca.ts'

const event: AuditEvent = {
  atMs: Date.UTC(2026, 0, 1),
  event: 'signed',
  account: 'istio-system/ztunnel',
  node: 'node1',
  peer: '192.0.2.1:1000',
  identity: CART,
  serialNumber: '42',
  notAfterMs: Date.UTC(2026, 0, 2),
  reason: 'OK',
}

t.test('an event is one line of JSON, whatever it quotes', async (t) => {
  t.same(JSON.parse(auditLine(event)), {
    at: '2026-01-01T00:00:00.000Z',
    event: 'signed',
    account: 'istio-system/ztunnel',
    node: 'node1',
    peer: '192.0.2.1:1000',
    identity: CART,
    serialNumber: '42',
    notAfter: '2026-01-02T00:00:00.000Z',
    reason: 'OK',
  })
  const hostile = auditLine({
    ...event,
    identity: 'a\n{"event":"signed"}\r\u2028\ud800',
    detail: 'x'.repeat(9_999),
  })
  t.equal(hostile.indexOf('\n'), hostile.length - 1)
  t.equal(JSON.parse(hostile).identity, 'a\n{"event":"signed"}\r\u2028\ufffd')
  t.ok(hostile.length < 1_500)
})

t.test('lines are appended in order to a file nobody else reads', async (t) => {
  const path = join(t.testdir(), 'audit.jsonl')
  for (const start of [0, 50]) {
    const log = new AuditLog(await openAuditFile(path))
    for (let serial = start; serial < start + 50; serial++)
      void log.write({ ...event, serialNumber: `${serial}` })
    await log.close()
    t.equal(log.lostCount, 0)
  }
  t.equal(statSync(path).mode & 0o777, 0o600)
  const serials = readFileSync(path, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line).serialNumber)
  t.same(
    serials,
    Array.from({ length: 100 }, (_, serial) => `${serial}`),
  )
  chmodSync(path, 0o640)
  await t.rejects(openAuditFile(path), { code: 'CA_KEY' })
  await t.rejects(openAuditFile(join(path, 'x')), { code: 'SYSTEM_CALL' })
})

t.test('a full disk is counted, stops nobody, and is told once there is room', async (t) => {
  const path = join(t.testdir(), 'audit.jsonl')
  const [full, file] = [await openAuditFile('/dev/full'), await openAuditFile(path)]
  t.teardown(() => Promise.all([full.close(), file.close()]))
  let isFull = true
  const losses: unknown[] = []
  const sink: AuditSink = { append: (line) => (isFull ? full : file).append(line), close: async () => {} }
  const log = new AuditLog(sink, (count, cause) => losses.push([count, String(cause)]))
  await log.write(event)
  await log.write(event)
  t.equal(log.lostCount, 2)
  t.match(String(losses[0]), /1,Error: ENOSPC/)
  isFull = false
  await log.write(event)
  const lines = readFileSync(path, 'utf8').trim().split('\n')
  t.same(JSON.parse(lines[0] ?? ''), { at: '2026-01-01T00:00:00.000Z', event: 'lost', count: 2 })
  t.match(JSON.parse(lines[1] ?? ''), { event: 'signed' })
  await log.write(event)
  t.equal(readFileSync(path, 'utf8').trim().split('\n').length, 3, 'told once')
  t.equal(log.lostCount, 2)
})

t.test('a half-written line does not swallow the next', async (t) => {
  let written = ''
  let room = 40
  const sink: AuditSink = {
    append: async (line) => {
      written += line.slice(0, room)
      if (room < line.length) throw new Error('ENOSPC')
    },
    close: async () => {},
  }
  const log = new AuditLog(sink)
  await log.write(event)
  room = Number.POSITIVE_INFINITY
  await log.write(event)
  const lines = written.trimEnd().split('\n')
  t.equal(lines.length, 3)
  t.throws(() => JSON.parse(lines[0] ?? ''))
  t.match(JSON.parse(lines[1] ?? ''), { event: 'lost', count: 1 })
  t.match(JSON.parse(lines[2] ?? ''), { event: 'signed' })
})

t.test('a disk that hangs costs bounded memory', async (t) => {
  let release = (): void => {}
  const hung = new Promise<void>((resolve) => {
    release = resolve
  })
  const log = new AuditLog({ append: () => hung, close: async () => {} })
  for (let line = 0; line < MAX_UNWRITTEN_LINES + 5; line++) void log.write(event)
  t.equal(log.lostCount, 5)
  release()
  await log.close()
  t.equal(log.lostCount, 5)
})
