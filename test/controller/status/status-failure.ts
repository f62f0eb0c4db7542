// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { isTransient, statusFailure } from '../../../controller/status/status-failure.ts'
import type { StatusPatch } from '../../../controller/status/status-patch.ts'
import { ApiError } from '../../../mesh/kubernetes/client.ts'

const patch: StatusPatch = {
  object: { group: 'security.istio.io', kind: 'AuthorizationPolicy', namespace: 'shop', name: 'a' },
  ...{
    apiVersion: 'security.istio.io/v1',
    uid: 'u',
    generation: 1,
    conditions: [],
    gateway: null,
    parents: null,
  },
}

t.test('what fails for all of them is told apart from what fails for one', async (t) => {
  const cases: readonly (readonly [number, boolean, string])[] = [
    [0, true, 'APISERVER_UNAVAILABLE'],
    [401, true, 'APISERVER_DENIED'],
    [403, false, 'APISERVER_DENIED'],
    [408, true, 'APISERVER_UNAVAILABLE'],
    [409, false, 'STATUS_REFUSED'],
    [422, false, 'STATUS_REFUSED'],
    [429, true, 'APISERVER_UNAVAILABLE'],
    [500, true, 'APISERVER_UNAVAILABLE'],
    [504, true, 'APISERVER_UNAVAILABLE'],
  ]
  for (const [status, isOfAll, code] of cases) {
    const cause = status === 0 ? new Error('reset') : new ApiError(status, 'no')
    t.equal(isTransient(cause), isOfAll, String(status))
    t.match(statusFailure(patch, cause), { code, detail: /status of security.istio.io\/.*\/shop\/a/ })
  }
})
