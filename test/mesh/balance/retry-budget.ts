// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { MAX_SAVED_RETRIES, RETRIES_PER_SECOND, RETRY_PERCENT } from '../../../mesh/balance/limits.ts'
import { RetryBudget } from '../../../mesh/balance/retry-budget.ts'

function spend(budget: RetryBudget, nowMs: number): number {
  let count = 0
  while (budget.withdraw(nowMs)) count++
  return count
}

t.test('a few each second, and a share of the first attempts', async (t) => {
  const budget = new RetryBudget(0)
  t.equal(spend(budget, 0), RETRIES_PER_SECOND)
  t.equal(spend(budget, 500), RETRIES_PER_SECOND / 2)
  for (let index = 0; index < 100; index++) budget.deposit()
  t.ok(Math.abs(spend(budget, 500) - RETRY_PERCENT) <= 1)
  for (let index = 0; index < 100_000; index++) budget.deposit()
  t.equal(spend(budget, 500), MAX_SAVED_RETRIES, 'so many are saved up')
  t.equal(spend(budget, 400), 0, 'a clock that steps back gives nothing')
})
