// SPDX-License-Identifier: Apache-2.0
// What the benches read from the environment.
import t from 'tap'
import { readBenchConfig } from '../../bench/config.ts'

t.test(
  'without ZTUNNEL_BIN there is no ztunnel; nginx and wrk are looked for where Debian puts them',
  (t) => {
    t.same(readBenchConfig({ PATH: '/bin' }), { ztunnelBinary: '', path: '/bin:/usr/sbin:/sbin' })
    t.equal(readBenchConfig({ ZTUNNEL_BIN: '/opt/z' }).ztunnelBinary, '/opt/z')
    t.end()
  },
)
