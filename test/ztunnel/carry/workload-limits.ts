// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { DEFAULT_KEEPALIVE } from '../../../mesh/reactor/socket-options.ts'
import { TURN_LIMITS } from '../../../mesh/reactor/turn-share.ts'
import { workloadLimits } from '../../../ztunnel/carry/workload-limits.ts'
import { readConfig } from '../../../ztunnel/config.ts'

const PATHS = ['--config-file', 'c', '--enrolment-file', 'e', '--ca-directory', 'd']

t.test('limits are what the options say; no time for half-closed connections is for ever', async (t) => {
  const limits = (...args: readonly string[]) => workloadLimits(readConfig([...PATHS, ...args], {}).options)
  t.equal(limits().halfCloseMs, 3_600_000)
  t.equal(limits('--half-close-seconds', '0').halfCloseMs, Number.POSITIVE_INFINITY)
  t.same(limits().keepalive, DEFAULT_KEEPALIVE)
  t.same(
    limits('--keepalive-idle-seconds', '7', '--keepalive-interval-seconds', '3', '--keepalive-probes', '2')
      .keepalive,
    { idleSeconds: 7, intervalSeconds: 3, probes: 2 },
  )
  t.equal(limits('--pod-connections', '5').connections, 5)
  t.equal(limits('--pod-connections-per-second', '6').connectionsPerSecond, 6)
  t.equal(limits('--pod-handshakes-per-second', '7').handshakesPerSecond, 7)
  t.same(limits().turn, TURN_LIMITS)
  t.same(limits('--turn-bytes', '65536', '--turn-handshakes', '9').turn, {
    companyBytes: 65_536,
    handshakeSteps: 9,
  })
  t.equal(limits('--pod-buffered-bytes', '1048577').bufferedBytes, 1_048_577)
})
