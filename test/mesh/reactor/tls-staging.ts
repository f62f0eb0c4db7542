// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { openHandles } from '../../../mesh/reactor/ffi/handle-counts.ts'
import { type Staging, StagingPool } from '../../../mesh/reactor/tls-staging.ts'

class User {
  isStagingBusy = false
  lostCount = 0
  staging: Staging | null = null
  onStagingLost(): void {
    this.lostCount++
    this.staging = null
  }
}
function acquire(pool: StagingPool, count: number): User[] {
  return Array.from({ length: count }, () => {
    const user = new User()
    user.staging = pool.acquire(user)
    return user
  })
}

t.test(
  'an idle buffer stays with its owner until another needs it; the longest idle goes first',
  async (t) => {
    const pool = new StagingPool()
    const users = acquire(pool, 16)
    t.equal(new Set(users.map((user) => user.staging)).size, 16, 'each has its own')
    const [first, second] = users
    if (first?.staging) pool.touch(first.staging)
    const late = new User()
    const taken = second?.staging
    t.equal(pool.acquire(late), taken)
    t.same([first?.lostCount, second?.lostCount], [0, 1])
    pool.free()
  },
)

t.test('a busy buffer is never taken away; without any the socket is written directly', async (t) => {
  const pool = new StagingPool()
  const users = acquire(pool, 16)
  for (const user of users) user.isStagingBusy = true
  t.equal(pool.acquire(new User()), null)
  const [first] = users
  if (first) first.isStagingBusy = false
  t.not(pool.acquire(new User()), null)
  t.equal(first?.lostCount, 1)
  pool.free()
})

t.test('a buffer given up is the next to be used, and a freed pool holds no BIO', async (t) => {
  const before = openHandles().BIO
  const pool = new StagingPool()
  const [user] = acquire(pool, 1)
  const staging = user?.staging
  if (staging) staging.user = null
  t.equal(pool.acquire(new User()), staging)
  t.equal(openHandles().BIO, before + 2)
  pool.free()
  t.equal(openHandles().BIO, before)
})

t.test('a trim frees what nobody is writing through and leaves the rest', async (t) => {
  const before = openHandles().BIO
  const pool = new StagingPool()
  const [idle, busy] = acquire(pool, 2)
  if (busy) busy.isStagingBusy = true
  pool.trim()
  t.same([idle?.lostCount, busy?.lostCount], [1, 0])
  t.equal(openHandles().BIO, before + 2, 'the busy buffer and its socket end are left')
  t.not(pool.acquire(new User()), busy?.staging)
  pool.free()
  t.equal(openHandles().BIO, before)
})
