// SPDX-License-Identifier: Apache-2.0
// The short form of test/soak/connection-churn.ts: nothing is left of connections that ended in every possible way.
import t from 'tap'
import { ChurnWorkers, openDescriptors, unexpectedEndings } from '../support/churn-workers.ts'

const CONNECTIONS = 5000

t.test('thousands of connections leave no handle and no descriptor behind', async (t) => {
  const before = openDescriptors()
  const workers = await ChurnWorkers.start(2, 32, 5)
  t.same(unexpectedEndings(await workers.run(CONNECTIONS), CONNECTIONS), [])
  t.same(await workers.stop(), [])
  t.equal(openDescriptors(), before)
})

t.test('the check finds a planted leak', async (t) => {
  const workers = await ChurnWorkers.start(1, 8, 5)
  await workers.run(60)
  await workers.leak()
  const left = (await workers.stop()).join('\n')
  t.match(left, /^SSL: (\d+) created, \d+ freed$/m)
  t.match(left, /^descriptor: (\d+) created, \d+ freed$/m)
  t.match(left, /^1 descriptors$/m)
  t.notMatch(left, /SSL_CTX|BIO|X509|EVP_PKEY/)
})
