// SPDX-License-Identifier: Apache-2.0
import { pino } from 'pino'
import t from 'tap'
import { RevocationFeed } from '../../../controller/publish/revocation-feed.ts'
import { MeshError } from '../../../mesh/errors/mesh-error.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const settle = async (): Promise<void> => {
  for (let turn = 0; turn < 10; turn++) await Promise.resolve()
}

t.test('lists are published when they change, and stay while they cannot be made', async (t) => {
  const clock = new ManualClock()
  const published: (string | null)[] = []
  let lists: () => Promise<readonly string[]> = async () => ['one']
  const feed = new RevocationFeed({
    lists: () => lists(),
    publish: (crl) => published.push(crl === null ? null : Buffer.from(crl).toString()),
    clock,
    log: pino({ level: 'silent' }),
  })
  const pass = async (): Promise<void> => {
    clock.advance(5_000)
    await settle()
  }
  feed.start()
  await settle()
  t.same(published, ['one'])
  await pass()
  t.same(published, ['one'], 'what has not changed is not said again')
  lists = async () => ['one', 'two']
  feed.wake()
  await settle()
  t.same(published, ['one', 'onetwo'], 'at once when it is woken')
  lists = () => Promise.reject(new MeshError('APISERVER_UNAVAILABLE'))
  await pass()
  await pass()
  t.equal(published.length, 2)
  lists = async () => []
  await pass()
  t.same(published.at(-1), null, 'no CA of ours, no lists')
  await feed.stop()
  t.equal(clock.pendingCount, 0)
})

t.test('where there is nothing to publish that is said too: nodes wait for it', async (t) => {
  const published: unknown[] = []
  const clock = new ManualClock()
  const feed = new RevocationFeed({
    ...{ lists: async () => [], publish: (crl) => published.push(crl), clock },
    log: pino({ level: 'silent' }),
  })
  feed.start()
  await settle()
  t.same(published, [null])
  await feed.stop()
})
