// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { DnsFailures } from '../../ztunnel/dns-failures.ts'

const failure = (timeMs: number) => ({ timeMs, code: 'DNS_UPSTREAM', detail: 'no answer' }) as const

t.test('the last failure of each pod, until its resolver answers', async (t) => {
  const failures = new DnsFailures()
  failures.onFailed('a', failure(1))
  failures.onFailed('b', failure(2))
  failures.onFailed('a', failure(3))
  t.strictSame(failures.byPod, { b: failure(2), a: failure(3) })
  failures.onRecovered('a')
  failures.onRecovered('never failed')
  t.strictSame(failures.byPod, { b: failure(2) })
})

t.test('of many pods the last ones are remembered', async (t) => {
  const failures = new DnsFailures()
  for (let pod = 0; pod < 2000; pod++) failures.onFailed(`${pod}`, failure(pod))
  const uids = Object.keys(failures.byPod)
  t.equal(uids.length, 1024)
  t.notOk(uids.includes('975'))
  t.ok(uids.includes('976'))
})
