// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { ApiError } from '../../../mesh/kubernetes/client.ts'
import { isRemoved } from '../../../mesh/kubernetes/is-removed.ts'

/** The last answer stays. */
const ask = async (answer: unknown, meansGone: readonly number[] = []) => {
  const asked: string[] = []
  const getJson = async (path: string): Promise<unknown> => {
    asked.push(path)
    const answers = Array.isArray(answer) ? answer : [answer]
    const now: unknown = answers[Math.min(asked.length, answers.length) - 1]
    if (now instanceof Error) throw now
    return now
  }
  const owner = { kind: 'daemonsets', namespace: 'mesh', name: 'ztunnel' } as const
  return { is: await isRemoved({ getJson }, owner, meansGone), asked }
}

t.test('only an owner that is gone, or going, says that nobody follows', async (t) => {
  const answers: readonly (readonly [unknown, boolean])[] = [
    [{ metadata: { name: 'ztunnel', deletionTimestamp: '2026-01-01T00:00:00Z' } }, true],
    [{ metadata: { name: 'ztunnel' } }, false],
    [new ApiError(404, 'not found'), true],
    [new ApiError(403, 'its rights are removed'), false],
    [new ApiError(500, 'broken'), false],
    [new Error('nobody answers'), false],
    ['garbage', false],
  ]
  for (const [answer, expected] of answers) t.equal((await ask(answer)).is, expected, String(answer))
  t.same((await ask({})).asked, ['/apis/apps/v1/namespaces/mesh/daemonsets/ztunnel'])
})

t.test('whose rights go with the owner knows it by that', async (t) => {
  for (const status of [401, 403]) t.ok((await ask(new ApiError(status, 'gone'), [401, 403])).is, `${status}`)
  t.notOk((await ask(new ApiError(500, 'broken'), [401, 403])).is)
})

t.test('nobody answers, or something is broken: asked again, not for ever', async (t) => {
  const going = { metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' } }
  const late = [new Error('too late'), new ApiError(503, 'busy')]
  t.match(await ask([...late, going]), { is: true, asked: { length: 3 } })
  t.match(await ask([...late, new Error('too late'), going]), { is: false, asked: { length: 3 } })
  t.match(await ask(new ApiError(403, 'forbidden')), { is: false, asked: { length: 1 } })
})
