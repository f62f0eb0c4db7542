// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { News } from '../../../../ztunnel/supervisor/enroll/news.ts'

t.test('what is so already needs no news', async (t) => {
  t.equal(await new News().until(() => true, AbortSignal.abort()), true)
})

t.test('it is asked again at all news, and by nobody after that', async (t) => {
  const news = new News()
  let looks = 0
  const found = news.until(() => ++looks >= 4, new AbortController().signal)
  news.tell()
  news.tell()
  t.equal(await found, true)
  t.equal(looks, 4)
  news.tell()
  t.equal(looks, 4)
})

t.test('the signal ends it', async (t) => {
  const ending = new AbortController()
  const found = new News().until(() => false, ending.signal)
  ending.abort()
  t.equal(await found, false)
  t.equal(await new News().until(() => false, AbortSignal.abort()), false)
})
