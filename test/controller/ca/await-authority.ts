// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { awaitAuthority } from '../../../controller/ca/await-authority.ts'
import { MeshError } from '../../../mesh/errors/mesh-error.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

t.test('rights and an apiserver are waited for, and every failure is told', async (t) => {
  const clock = new ManualClock()
  const failures = ['APISERVER_DENIED', 'APISERVER_UNAVAILABLE', 'APISERVER_DENIED'] as const
  const told: string[] = []
  let attempts = 0
  const opened = awaitAuthority(
    async () => {
      const code = failures[attempts++]
      if (code !== undefined) throw new MeshError(code, { detail: String(attempts) })
      return 'the CA'
    },
    clock,
    async ({ code, detail }) => void told.push(`${code} ${detail}`),
  )
  for (let expected = 1; expected <= failures.length; expected++) {
    await turn()
    t.equal(attempts, expected, 'one attempt in a while')
    clock.advance(3_000)
  }
  t.equal(await opened, 'the CA')
  t.same(told, ['APISERVER_DENIED 1', 'APISERVER_UNAVAILABLE 2', 'APISERVER_DENIED 3'])
  t.equal(clock.pendingCount, 0)
})

t.test('what does not pass by itself is thrown at once', async (t) => {
  for (const error of [new MeshError('CA_KEY'), new Error('a defect')]) {
    const open = async (): Promise<never> => {
      throw error
    }
    await t.rejects(
      awaitAuthority(open, new ManualClock(), async () => void t.fail('told')),
      error,
    )
  }
})
