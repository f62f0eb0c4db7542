// SPDX-License-Identifier: Apache-2.0
// Events of the pods of a node across processes: one that ends, one that is killed, two at once.
import { join } from 'node:path'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import type { WorkloadCertificate } from '../../../mesh/identity/certificate.ts'
import { RecordBatch } from '../../../mesh/telemetry/record-batch.ts'
import { ENTRY_KINDS } from '../../../mesh/telemetry/record-ring.ts'
import { parseLine } from '../../../ztunnel/events/event-line.ts'
import { NodeEvents } from '../../../ztunnel/events/node-events.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { meshOf } from '../../support/mesh.ts'
import { NOW_MS, recordLine, shopMesh } from '../../support/node-views.ts'

const pod = (name: string) => ({ uid: `u-${name}`, name, namespace: 'shop', serviceAccount: `${name}-sa` })
const clock = new ManualClock(NOW_MS)

/** A batch of one record, of a pod with a number. */
function batchOf(line: string, number = 0): RecordBatch {
  const batch = new RecordBatch()
  const bytes = Buffer.from(line)
  batch.add(bytes, 0, bytes.length, ENTRY_KINDS.record, number)
  return batch
}

function open(path: string): NodeEvents {
  return new NodeEvents({
    place: async () => ({
      ...{ path, key: Buffer.alloc(32, 1), purpose: 'events' as const },
      owner: { trustDomain: 'd', clusterId: 'c', nodeName: 'n' },
    }),
    ...{ network: '', pods: () => [pod('front'), pod('batch')], model: { state: meshOf(shopMesh()) } },
    podOf: (number) => (number === 7 ? 'shop/batch' : undefined),
    onTap: () => {},
    ...{ clock, log: pino({ level: 'silent' }) },
  })
}

const failed = (detail: string) =>
  recordLine({
    ...{ reason: 'NO_ENDPOINT', direction: 'outbound', 'src.workload': 'front', 'src.namespace': 'shop' },
    detail,
  })
const detailsOf = (events: NodeEvents): unknown[] =>
  events.of('shop/front').map((line) => parseLine(line)?.detail)
const place = (t: Test): string => join(t.testdir(), 'events.sealed')

t.test('connections, enrolment, redirection, certificates: each with its pod', async (t) => {
  const events = open(place(t))
  events.onRecords(batchOf(failed('one')))
  events.onRecords(batchOf(recordLine({ reason: 'OK', direction: 'inbound', 'dst.addr': '10.1.0.1:80' })))
  events.onRecords(batchOf(recordLine({ reason: 'OK', direction: 'inbound', 'dst.addr': '10.9.9.9:80' })))
  events.onSupervisor({ type: 'pod-added', pod: pod('front'), listeners: [], sharesHost: false })
  events.onSupervisor({ type: 'pod-mended', uid: 'u-front' })
  events.onSupervisor({ type: 'pod-leaving', uid: 'u-nobody' })
  events.onSupervisor({ type: 'snapshot-sent' })
  events.onFailed('u-front', 'no descriptor')
  events.onCertificate({
    ...{ identity: 'spiffe://cluster.local/ns/shop/sa/front-sa', serialNumber: '7', notAfterMs: NOW_MS },
  } as WorkloadCertificate) // as: what is looked at
  t.same(Object.keys(events.all()), ['shop/front'])
  t.same(
    events.of('shop/front').map((line) => parseLine(line)?.msg),
    [
      ...['connection complete', 'connection complete', 'pod enrolled'],
      ...['redirection was damaged and is mended', 'pod cannot be served', 'certificate changed'],
    ],
  )
})

t.test('they are there after a crash, but for those of the last seconds, and after an end all', async (t) => {
  const path = place(t)
  const killed = open(path)
  await killed.start()
  killed.onRecords(batchOf(failed('one')))
  clock.advance(5000)
  await killed.save()
  killed.onRecords(batchOf(failed('lost')))
  const second = open(path)
  await second.start()
  t.same(detailsOf(second), ['one'])
  second.onRecords(batchOf(failed('two')))
  await second.close()
  const third = open(path)
  await third.start()
  t.same(detailsOf(third), ['one', 'two'])
})

t.test('of two processes at once neither loses what the other has', async (t) => {
  const path = place(t)
  const [draining, serving] = [open(path), open(path)]
  await draining.start()
  await serving.start()
  draining.onRecords(batchOf(failed('old 1')))
  await draining.save()
  serving.onRecords(batchOf(failed('new 1')))
  await serving.save()
  t.same(detailsOf(serving).toSorted(), ['new 1', 'old 1'])
  const ready = open(path)
  await ready.start()
  serving.onRecords(batchOf(failed('late')))
  await serving.save()
  await ready.catchUp()
  t.same(detailsOf(ready).toSorted(), ['late', 'new 1', 'old 1'], 'what the one before saw meanwhile')
  draining.onRecords(batchOf(failed('old 2')))
  await draining.close()
  serving.onRecords(batchOf(failed('new 2')))
  await serving.close()
  const next = open(path)
  await next.start()
  t.same(detailsOf(next).toSorted(), ['late', 'new 1', 'new 2', 'old 1', 'old 2'])
})

t.test('a record is of the pod whose number it has, while that is here', async (t) => {
  const events = open(place(t))
  events.onRecords(batchOf(failed('by number'), 7))
  events.onRecords(batchOf(failed('of a pod that is gone'), 8))
  t.same(
    events.of('shop/batch').map((line) => parseLine(line)?.detail),
    ['by number'],
  )
  t.same(detailsOf(events), ['of a pod that is gone'])
})
