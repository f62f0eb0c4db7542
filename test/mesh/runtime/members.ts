// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { type Member, Members } from '../../../mesh/runtime/members.ts'
import { grownOldBytes } from '../../support/old-space.ts'

const person = (name: string): Member & { name: string } => ({ name, memberIndex: -1 })

t.test('members come and go in any order, each of them once', async (t) => {
  const people = ['a', 'b', 'c', 'd', 'e'].map(person)
  const orders = [
    [0, 1, 2, 3, 4],
    [4, 3, 2, 1, 0],
    [2, 0, 4, 1, 3],
    [1, 1, 3, 3, 0],
  ]
  for (const order of orders) {
    const members = new Members<(typeof people)[number]>()
    const expected = new Set(people)
    for (const each of people) members.add(each)
    for (const index of order) {
      const each = people[index]
      if (each === undefined) continue
      members.delete(each)
      expected.delete(each)
      t.same(new Set(members.all()), expected)
      t.equal(members.size, expected.size)
      t.equal(each.memberIndex, -1)
    }
    for (const each of expected) members.delete(each)
    t.equal(members.size, 0)
  }
})

t.test('who is a member elsewhere is none here, and who has left may come again', async (t) => {
  const [here, there] = [new Members<Member>(), new Members<Member>()]
  const [a, b] = [person('a'), person('b')]
  here.add(a)
  there.add(b)
  here.delete(b)
  t.same([here.all(), there.all()], [[a], [b]])
  there.delete(b)
  here.add(b)
  t.equal(here.all().length, 2)
  for (const each of here) t.equal(here.delete(each), true, 'they may leave meanwhile')
  t.same([here.size, here.delete(a)], [0, false])
})

t.test('who has left is garbage', async (t) => {
  const members = new Members<Member>()
  const open: Member[] = []
  const join = (name: string): void => {
    const member = person(name)
    members.add(member)
    open.push(member)
  }
  for (const name of ['a', 'b', 'c', 'd']) join(name)
  const grown = grownOldBytes(200_000, (index) => {
    join(`${index}`)
    const first = open.shift()
    if (first !== undefined) members.delete(first)
  })
  t.ok(grown < 2_000_000, `${grown} bytes`)
})
