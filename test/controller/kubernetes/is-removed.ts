// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { isRemoved } from '../../../controller/kubernetes/is-removed.ts'
import { ApiError } from '../../../mesh/kubernetes/client.ts'

const ask = async (answer: unknown) => {
  const asked: string[] = []
  const getJson = async (path: string): Promise<unknown> => {
    asked.push(path)
    if (answer instanceof Error) throw answer
    return answer
  }
  return { is: await isRemoved({ getJson }, { namespace: 'mesh', name: 'controller' }), asked }
}

t.test('only a Deployment that is gone, or going, says that nobody follows', async (t) => {
  const answers: readonly (readonly [unknown, boolean])[] = [
    [{ metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' } }, true],
    [{ metadata: {} }, false],
    [new ApiError(404, 'not found'), true],
    [new ApiError(403, 'its rights are removed: nothing can be written either'), false],
    [new ApiError(500, 'broken'), false],
    [new Error('nobody answers'), false],
    ['garbage', false],
  ]
  for (const [answer, expected] of answers) t.equal((await ask(answer)).is, expected, String(answer))
  t.same((await ask({})).asked, ['/apis/apps/v1/namespaces/mesh/deployments/controller'])
})
