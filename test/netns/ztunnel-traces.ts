// SPDX-License-Identifier: Apache-2.0
// Connections as spans, at a real collector: who is whose parent, what a span says, and that a collector which behaves badly,
// or a process that gives way to the next one, costs no connection anything.
import t, { type Test } from 'tap'
import { labDirectory } from '../support/lab-directory.ts'
import { type LabNode, type LabPod, labMesh, MeshLab, poll } from '../support/mesh-lab.ts'
import { type CollectedSpan, SpanCollector } from '../support/span-collector.ts'

const CART_VIP = '10.96.0.10'
const CART_IP = '10.2.0.1'
const GREETER_PORT = 9001
const { attribute } = SpanCollector

t.setTimeout(180_000)

async function openLab(t: Test): Promise<{ lab: MeshLab; collector: SpanCollector }> {
  let collector: SpanCollector | null = null
  const lab = await MeshLab.start(labDirectory(t), labMesh(['batch']), {}, async ({ network }) => {
    const { namespace, ip } = network.node('control')
    collector = new SpanCollector(namespace)
    const options = {
      SIDESTEP_OTLP_ENDPOINT: `http://${ip}:${collector.port}`,
      SIDESTEP_OTLP_SAMPLES_PER_MILLION: '1000000',
    }
    return { n1: options, n2: options }
  })
  t.teardown(() => lab.close())
  if (collector === null) throw new Error('nothing was prepared')
  const opened: SpanCollector = collector
  t.teardown(() => opened.close())
  return { lab, collector: opened }
}

async function greeted(lab: MeshLab, pod: LabPod, times = 1): Promise<void> {
  for (let count = 0; count < times; count++) {
    const socket = lab.connect(pod, CART_IP, GREETER_PORT)
    await socket.until('greeted', ({ text }) => text.endsWith('\r\n'))
    socket.destroy()
  }
}

/** Waits for so many spans of a node, beyond those before. */
async function spansOf(
  { spans }: SpanCollector,
  node: LabNode,
  holds: (span: CollectedSpan) => boolean,
  count = 1,
): Promise<readonly CollectedSpan[]> {
  return await poll(`${count} spans of ${node}`, () => {
    const found = spans.filter((span) => span.node === node && holds(span))
    return found.length >= count ? found : null
  })
}

async function lost(lab: MeshLab, node: LabNode): Promise<number> {
  const { text } = await lab.admin(node, '/metrics')
  return Number(/^sidestep_spans_total\{end="lost"\} (\d+)$/m.exec(text)?.[1])
}

async function testSpans(t: Test, lab: MeshLab, collector: SpanCollector): Promise<void> {
  await t.test(
    'both ends of a connection are one trace, the caller’s span above the destination’s',
    async (t) => {
      const startMs = Date.now()
      const socket = lab.connect('front', CART_VIP, 80)
      socket.write('GET / HTTP/1.1\r\nhost: cart\r\nconnection: close\r\n\r\n')
      await socket.until('answered', ({ text, hasEnded }) => /200 OK/.test(text) && hasEnded)
      socket.end()
      const [near] = await spansOf(collector, 'n1', ({ name }) => name.includes('cart.shop'))
      const [far] = await spansOf(collector, 'n2', ({ traceId }) => traceId === near?.traceId)
      t.notOk(near?.parentSpanId)
      t.equal(far?.parentSpanId, near?.spanId)
      t.same([near?.kind, near?.status, far?.kind, far?.status], [3, {}, 2, {}])
      const times = [near, far].flatMap((span) => [span?.startTimeUnixNano, span?.endTimeUnixNano])
      const [nearStart = 0, nearEnd = 0, farStart = 0, farEnd = 0] = times.map((text) => Number(text) / 1e6)
      // Two processes round their clocks by themselves.
      const slackMs = 5
      t.ok(nearStart > startMs - slackMs && nearEnd < Date.now() + slackMs)
      t.ok(nearStart < farStart + slackMs && farStart <= farEnd && nearStart <= nearEnd)
      for (const [key, value] of [
        ['sidestep.source.workload', 'front'],
        ['sidestep.destination.identity', 'spiffe://cluster.local/ns/shop/sa/cart'],
        ['sidestep.transport', 'HBONE'],
        ['sidestep.reason', 'OK'],
      ] as const)
        for (const span of [near, far]) t.equal(span === undefined ? '' : attribute(span, key), value)
      t.ok(Number(near === undefined ? 0 : attribute(near, 'sidestep.bytes_received')) > 50)
      const records = await lab.records('n2')
      t.ok(records.some((record) => record.trace_id === near?.traceId && record.span_id === far?.spanId))
    },
  )

  await t.test('one that a policy refuses says so at both ends', async (t) => {
    const denied = lab.connect('batch', CART_VIP, 80)
    await denied.until('refused', ({ isClosed }) => isClosed)
    const isDenied = (span: CollectedSpan): boolean => attribute(span, 'error.type') === 'POLICY_DENY'
    const [far] = await spansOf(collector, 'n2', isDenied)
    const [near] = await spansOf(collector, 'n1', isDenied)
    t.match(far, { status: { code: 2, message: /.+/ }, traceId: near?.traceId, parentSpanId: near?.spanId })
    t.equal(far === undefined ? '' : attribute(far, 'sidestep.policy'), 'shop/no-batch')
  })
}

async function testBadCollectors(t: Test, lab: MeshLab, collector: SpanCollector): Promise<void> {
  await t.test(
    'a collector that stalls holds up nobody; what it refuses then is lost, and counted',
    async (t) => {
      collector.mode = 'stall'
      await greeted(lab, 'front', 10)
      await poll('a request that waits', () => collector.stalledCount > 0 || null)
      const startMs = performance.now()
      await greeted(lab, 'front', 10)
      t.ok(performance.now() - startMs < 5000)
      const before = await lost(lab, 'n2')
      t.equal(before, 0)
      collector.mode = 'refuse'
      await poll('all are lost', async () => (await lost(lab, 'n2')) >= 20 || null)
      t.match(lab.log('n2'), /"reason":"SPANS_UNSENT"/)
    },
  )

  await t.test('what comes when it is well again arrives', async () => {
    collector.mode = 'take'
    collector.spans.length = 0
    await greeted(lab, 'front', 5)
    await spansOf(collector, 'n1', ({ kind }) => kind === 3, 5)
    await spansOf(collector, 'n2', ({ kind }) => kind === 2, 5)
  })
}

t.test('traces', async (t) => {
  const { lab, collector } = await openLab(t)
  await testSpans(t, lab, collector)
  await testBadCollectors(t, lab, collector)
  await t.test(
    'a process that gives way to the next one, and one that ends, keep no span back',
    async (t) => {
      collector.spans.length = 0
      const [before] = lab.dataPids('n2')
      await greeted(lab, 'front', 20)
      lab.upgrade('n2')
      await poll('the next process serves', () => {
        const pids = lab.dataPids('n2')
        return (pids.length === 1 && pids[0] !== before) || null
      })
      await greeted(lab, 'front', 5)
      await lab.stop('n2')
      const spans = await spansOf(collector, 'n2', () => true, 25)
      t.equal(new Set(spans.map(({ spanId }) => spanId)).size, 25, 'each once')
    },
  )
})

t.test('a node without a collector loads and says nothing of all that', async (t) => {
  const lab = await MeshLab.start(labDirectory(t), labMesh([]))
  t.teardown(() => lab.close())
  await greeted(lab, 'front', 2)
  const { text } = await lab.admin('n1', '/metrics')
  t.notMatch(text, /sidestep_spans/)
  const records = await lab.recordsAfter('n1', 0, ({ direction }) => direction === 'outbound')
  t.notOk(records.some((record) => Object.hasOwn(record, 'trace_id')))
})
