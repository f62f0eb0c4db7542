// SPDX-License-Identifier: Apache-2.0
// Reading /proc: texts as the kernel writes them, and this process itself.
import t from 'tap'
import {
  countTunnels,
  cpuSeconds,
  parseCpuSeconds,
  parseResidentKb,
  residentKb,
} from '../../../bench/measure/process-usage.ts'

t.test('user and system time are found behind a name with brackets and spaces', (t) => {
  const fields = ['S', 1, 1, 1, 0, -1, 0, 0, 0, 0, 0, 250, 75, 9, 9, 20]
  t.equal(parseCpuSeconds(`12 (odd) name (x)) ${fields.join(' ')}`), 3.25)
  t.end()
})

t.test('resident memory is the line VmRSS', (t) => {
  t.equal(parseResidentKb('Name:\tnode\nVmHWM:\t  99 kB\nVmRSS:\t   1234 kB\n'), 1234)
  t.ok(Number.isNaN(parseResidentKb('Name:\tkthreadd\n')))
  t.end()
})

t.test('tunnels are established connections to port 15008, both families', (t) => {
  const head = '  sl  local_address rem_address   st tx_queue'
  const lines = [
    '   0: 0100010A:9C40 0100020A:3AA0 01 00000000:00000000',
    '   1: 0100010A:9C41 0100020A:3AA0 06 00000000:00000000',
    '   2: 00000000:3AA0 00000000:0000 0A 00000000:00000000',
    '   3: 0100010A:9C42 0100020A:1F90 01 00000000:00000000',
    '   4: 0000000000000000FFFF00000100010A:9C43 0000000000000000FFFF00000100020A:3AA0 01 00000000:00000000',
  ]
  t.equal(countTunnels([head, ...lines, ''].join('\n')), 2)
  t.end()
})

t.test('a running process has both, one that has ended is an error', (t) => {
  t.ok(cpuSeconds([process.pid]) > 0)
  t.equal(cpuSeconds([]), 0)
  t.ok(residentKb([process.pid]) > 10_000)
  t.throws(() => cpuSeconds([2 ** 22 + 1]))
  t.end()
})
