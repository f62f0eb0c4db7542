// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { MeshError } from '../../../../mesh/errors/mesh-error.ts'
import { NetworkNamespace } from '../../../../mesh/reactor/netns.ts'
import { openLog } from '../../../../mesh/runtime/log.ts'
import { type OpenEvents, TableWatch } from '../../../../ztunnel/supervisor/enroll/table-watch.ts'
import { ManualClock } from '../../../support/manual-clock.ts'

const NAMESPACE = NetworkNamespace.open('/proc/self/ns/net')

function setUp(open?: OpenEvents) {
  const clock = new ManualClock()
  const looked: string[] = []
  const sources: Array<{ change: () => void; isClosed: boolean }> = []
  const openFake: OpenEvents = (_, change) => {
    const source = { change, isClosed: false }
    sources.push(source)
    return {
      close: () => {
        source.isClosed = true
      },
    }
  }
  const watch = new TableWatch(clock, openLog('silent'), (uid) => looked.push(uid), open ?? openFake)
  return { clock, looked, sources, watch }
}

t.test('many changes at once are one look; the next one has its pause', async (t) => {
  const { clock, looked, sources, watch } = setUp()
  watch.watch('a', NAMESPACE)
  for (let count = 0; count < 10; count++) sources[0]?.change()
  t.same(looked, [])
  clock.advance(20)
  t.same(looked, ['a'])
  for (let ms = 0; ms < 2_000; ms += 10) {
    sources[0]?.change()
    clock.advance(10)
  }
  t.ok(looked.length >= 4 && looked.length <= 5, `${looked.length} looks in two seconds of changes`)
})

t.test('who is forgotten, or watched anew, is not looked at for what was', async (t) => {
  const { clock, looked, sources, watch } = setUp()
  watch.watch('a', NAMESPACE)
  watch.watch('b', NAMESPACE)
  sources[0]?.change()
  watch.forget('a')
  watch.forget('unknown')
  sources[0]?.change()
  sources[1]?.change()
  watch.watch('b', NAMESPACE)
  clock.advance(1_000)
  t.same(looked, [])
  watch.close()
  t.same(
    sources.map(({ isClosed }) => isClosed),
    [true, true, true],
  )
})

t.test('a pod that cannot be watched is no failure', async (t) => {
  const { watch, clock, looked } = setUp(() => {
    throw new MeshError('NAMESPACE_GONE')
  })
  watch.watch('a', NAMESPACE)
  clock.advance(1_000)
  t.same(looked, [])
  t.throws(() => {
    const { watch: broken } = setUp(() => {
      throw new TypeError('a defect')
    })
    broken.watch('a', NAMESPACE)
  }, TypeError)
})
