// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { ApiError } from '../../../../../mesh/kubernetes/client.ts'
import { isUninstalled } from '../../../../../ztunnel/supervisor/enroll/cni/is-uninstalled.ts'

const ask = async (answer: unknown) => {
  const asked: string[] = []
  const getJson = async (path: string) => {
    asked.push(path)
    if (answer instanceof Error) throw answer
    return answer
  }
  return { is: await isUninstalled({ getJson }, 'mesh'), asked }
}

t.test('by the DaemonSet it is known whether another ztunnel comes', async (t) => {
  const answers: readonly (readonly [unknown, boolean])[] = [
    [{ metadata: { name: 'ztunnel' } }, false],
    [{ metadata: { name: 'ztunnel', deletionTimestamp: '2026-01-01T00:00:00Z' } }, true],
    [new ApiError(404, 'not found'), true],
    [new ApiError(403, 'its rights are removed'), true],
    [new ApiError(401, 'its account is removed'), true],
    [new ApiError(500, 'broken'), false],
    [new Error('nobody answers'), false],
    ['garbage', false],
  ]
  for (const [answer, expected] of answers) t.equal((await ask(answer)).is, expected, String(answer))
  t.same((await ask({})).asked, ['/apis/apps/v1/namespaces/mesh/daemonsets/ztunnel'])
})
