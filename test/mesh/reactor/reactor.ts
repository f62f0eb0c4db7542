// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import t from 'tap'
import { EFD_CLOEXEC, EFD_NONBLOCK, EPOLLIN, EPOLLOUT } from '../../../mesh/reactor/ffi/constants.ts'
import { openHandles } from '../../../mesh/reactor/ffi/handle-counts.ts'
import { close, dup3, eventfd, read } from '../../../mesh/reactor/ffi/libc.ts'
import { allocateBlock } from '../../../mesh/reactor/ffi/native.ts'
import { Reactor } from '../../../mesh/reactor/reactor.ts'

/** An eventfd that is readable. */
const signalled = (): number => eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC)
const quiet = (): number => eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)

t.test('an event for a number that was closed and reopened in the same batch is ignored', async (t) => {
  const reactor = new Reactor()
  const fds = [signalled(), signalled()] as const
  const heard: string[] = []
  // Whichever comes first closes the other and puts a quiet descriptor under its number.
  const replace = (other: number): void => {
    if (heard.length > 1) return
    reactor.unwatch(other)
    const fresh = quiet()
    dup3(fresh, other, 0)
    close(fresh)
    reactor.watch(other, EPOLLIN, { onReady: () => heard.push('the new one') })
  }
  const drain = allocateBlock(8)
  fds.forEach((fd, index) => {
    reactor.watch(fd, EPOLLIN, {
      onReady: () => {
        heard.push(`old ${index}`)
        read(fd, drain.address, 8)
        replace(fds[1 - index] ?? -1)
      },
    })
  })
  for (let turn = 0; turn < 5; turn++) reactor.runTurn(0)
  t.equal(heard.length, 1, `one of the old ones was heard: ${heard.join()}`)
  for (const fd of fds) reactor.closeLater(fd)
  reactor.runTurn(0)
  reactor.destroy()
})

t.test(
  'a descriptor is closed at the end of the turn, so that its number cannot come back within it',
  async (t) => {
    const reactor = new Reactor()
    const before = readdirSync('/proc/self/fd').length
    const fds = [signalled(), signalled()] as const
    const heard: number[] = []
    fds.forEach((fd, index) => {
      reactor.watch(fd, EPOLLIN, {
        onReady() {
          heard.push(fd)
          const other = fds[1 - index] ?? -1
          reactor.closeLater(fd)
          reactor.closeLater(other)
          const fresh = quiet()
          t.notOk(fds.includes(fresh), 'both numbers are still taken')
          close(fresh)
        },
      })
    })
    t.equal(reactor.descriptors.has(fds[0]), true)
    reactor.runTurn(0)
    t.equal(heard.length, 1, 'the closed one is not called any more')
    t.equal(readdirSync('/proc/self/fd').length, before)
    t.equal(reactor.descriptors.has(fds[0]), false)
  },
)

t.test('a signal that interrupts the wait is no error', async (t) => {
  const reactor = new Reactor()
  process.on('SIGUSR2', () => {})
  const child = spawn('sh', [
    '-c',
    `for i in 1 2 3 4 5 6 7 8; do sleep 0.05; kill -USR2 ${process.pid}; done`,
  ])
  const closed = new Promise((resolve) => child.on('close', resolve))
  const startedMs = performance.now()
  t.equal(reactor.runTurn(2000), false)
  t.ok(performance.now() - startedMs < 1900, 'the wait ended early')
  await closed
  process.removeAllListeners('SIGUSR2')
})

t.test('a shared descriptor is watched, never owned; a handler may be replaced', async (t) => {
  const reactor = new Reactor()
  const fd = signalled()
  const heard: string[] = []
  reactor.watch(fd, EPOLLIN, { onReady: () => heard.push('first') }, true)
  t.equal(reactor.descriptors.has(fd), false)
  reactor.runTurn(0)
  reactor.takeOver(fd, EPOLLIN | EPOLLOUT, { onReady: (events) => heard.push(`second ${events}`) })
  reactor.runTurn(0)
  reactor.unwatch(fd)
  reactor.unwatch(fd)
  reactor.runTurn(0)
  t.same(heard, ['first', 'second 5'])
  t.equal(close(fd), 0, 'still open')
})

t.test('a turn runs events, then posted work, timers, turn-end tasks, closing', async (t) => {
  const reactor = new Reactor()
  const order: string[] = []
  const fd = signalled()
  const task = {
    isAtTurnEnd: false,
    runAtTurnEnd: () => {
      order.push(`task, ${reactor.descriptors.has(fd) ? 'open' : 'closed'}`)
    },
  }
  reactor.startTimer(0, () => {
    order.push('timer')
    reactor.atTurnEnd(task)
    reactor.atTurnEnd(task)
  })
  reactor.watch(fd, EPOLLIN, {
    onReady() {
      order.push('event')
      reactor.closeLater(fd)
      reactor.inNextTurn(() => order.push('posted'))
    },
  })
  for (let turn = 0; turn < 5; turn++) reactor.runTurn(15)
  t.same(
    order.filter((it) => it !== 'timer' && !it.startsWith('task')),
    ['event', 'posted'],
  )
  t.equal(order.filter((it) => it.startsWith('task')).length, 1, 'registered twice, run once')
  t.ok(order.indexOf('timer') < order.findIndex((it) => it.startsWith('task')))
  t.equal(reactor.descriptors.has(fd), false)
  t.equal(reactor.pendingTimerCount, 0)
})

t.test('turn-end tasks that never end are a defect, not a hang', async (t) => {
  const reactor = new Reactor()
  const task = { isAtTurnEnd: false, runAtTurnEnd: () => reactor.atTurnEnd(task) }
  reactor.atTurnEnd(task)
  t.throws(() => reactor.runTurn(0), { code: 'INTERNAL', detail: 'turn-end tasks never end' })
})

t.test('run ends when it is stopped, and a destroyed loop holds nothing', async (t) => {
  const before = { handles: openHandles(), descriptors: readdirSync('/proc/self/fd').length }
  const reactor = new Reactor()
  let turns = 0
  let freed = 0
  reactor.atDestroy(() => freed++)
  reactor.onTurn = () => {
    if (++turns === 3) reactor.stop()
    else reactor.startTimer(0, () => {})
  }
  reactor.startTimer(0, () => {})
  reactor.run()
  t.equal(turns, 3)
  t.ok(reactor.longestTurnMs >= 0)
  reactor.destroy()
  reactor.destroy()
  t.equal(freed, 1)
  t.same({ handles: openHandles(), descriptors: readdirSync('/proc/self/fd').length }, before)
})

t.test('a turn is told by how long it lasted and by the CPU it took', async (t) => {
  const reactor = new Reactor()
  const turn = (work: () => void): readonly [lastedMs: number, cpuMs: number] => {
    reactor.longestTurnMs = 0
    reactor.longestTurnCpuMs = 0
    reactor.inNextTurn(work)
    reactor.runTurn(0)
    return [reactor.longestTurnMs, reactor.longestTurnCpuMs]
  }
  const sleep = (): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 40)
  const spin = (): void => {
    const start = process.threadCpuUsage()
    while (process.threadCpuUsage(start).user < 20_000);
  }
  t.equal(turn(spin)[1], 0, 'not measured unless somebody wants to know')
  reactor.measuresCpu = true
  const [slept, sleptCpu] = turn(sleep)
  t.ok(slept >= 39 && sleptCpu < 10, `${slept}, ${sleptCpu}`)
  const [spun, spunCpu] = turn(spin)
  t.ok(spunCpu >= 19 && spun >= 19, `${spun}, ${spunCpu}`)
  t.equal(turn(() => reactor.onTrimmed(1))[1], 0, 'a collection is told apart')
  reactor.destroy()
})

t.test('a descriptor that cannot be watched is an error that names the call', async (t) => {
  const reactor = new Reactor()
  t.throws(() => reactor.watch(9999, EPOLLIN, { onReady() {} }), {
    code: 'SYSTEM_CALL',
    detail: /epoll_ctl: Bad file descriptor/,
  })
  reactor.destroy()
})
