// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { Policy } from '../../mesh/model/policy.ts'
import { PolicyNumbers } from '../../ztunnel/policy-numbers.ts'

const policy = (name: string): Policy => ({
  ...{ name, namespace: 'shop', scope: 'Namespace', action: 'Deny', rules: [], dryRun: false },
})

t.test('a policy is told once, before its number is used, and numbers are never given again', async (t) => {
  const told: [number, string][] = []
  const numbers = new PolicyNumbers((number, { name }) => told.push([number, name]))
  const [a, b, c] = [policy('a'), policy('b'), policy('c')]
  t.same(numbers.of([a, b]), [1, 2])
  t.same(numbers.of([b, a, c]), [2, 1, 3])
  t.same(told, [
    [1, 'a'],
    [2, 'b'],
    [3, 'c'],
  ])
  t.same(numbers.retain(new Set([b])), [1, 3])
  t.same([...numbers.all()], [[2, b]])
  t.same(numbers.of([a]), [4])
  t.same(numbers.of([policy('b')]), [5], 'a changed policy is another one')
})
