// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { formatRequestRecord } from '../../../waypoint/records/request-record.ts'
import {
  isWanted,
  parseTapFilter,
  readTapped,
  type TapFilter,
  type TappedRequest,
} from '../../../waypoint/records/tap-filter.ts'
import { loggedRequest, loggedSource } from '../../support/logged.ts'

const ALL: TapFilter = { path: '', status: '', source: '', reason: '' }
const REQUEST: TappedRequest = {
  ...{ path: '/items/1', status: 404, reason: 'OK', ip: '10.1.0.1', namespace: 'shop' },
  identity: 'spiffe://cluster.local/ns/shop/sa/front',
}

t.test('a filter is of path, status and caller', async (t) => {
  for (const wanted of [
    {},
    { path: '/items' },
    { path: '/items/1' },
    { status: '404' },
    { status: '4xx' },
    { reason: 'OK' },
    ...['10.1.0.1', 'shop', 'shop/front', REQUEST.identity].map((source) => ({ source })),
  ])
    t.ok(isWanted({ ...ALL, ...wanted }, REQUEST), JSON.stringify(wanted))
  for (const unwanted of [
    { path: '/items/12' },
    { path: '/x' },
    { status: '200' },
    { status: '5xx' },
    { reason: 'DRAIN' },
    ...['10.1.0.2', 'sho', 'front', 'hop/front', 'shop/fron', ''].map((source) => ({
      source: source || 'x',
    })),
    { path: '/items', status: '200' },
  ])
    t.notOk(isWanted({ ...ALL, ...unwanted }, REQUEST), JSON.stringify(unwanted))
})

t.test('a query that asks for nothing that there could be is refused', async (t) => {
  t.strictSame(parseTapFilter(new URLSearchParams('path=/a&status=5xx&source=shop&reason=DRAIN')), {
    ...{ path: '/a', status: '5xx', source: 'shop', reason: 'DRAIN' },
  })
  t.strictSame(parseTapFilter(new URLSearchParams()), ALL)
  for (const query of [
    'path=a',
    'status=9xx',
    'status=20',
    'status=4x4',
    'reason=NONE',
    `source=${'x'.repeat(513)}`,
  ])
    t.match(parseTapFilter(new URLSearchParams(query)), { code: 'REQUEST_INVALID' }, query)
})

t.test('a record tells what filters ask; one that was cut tells nothing', async (t) => {
  const record = formatRequestRecord(loggedSource(), loggedRequest({ path: '/items/1', status: 404 }))
  t.strictSame(readTapped(record), REQUEST)
  t.equal(readTapped(record.slice(0, 100)), null)
})
