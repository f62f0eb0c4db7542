// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { controllerMetrics, type MeasuredApp } from '../../controller/metrics.ts'

const app = {
  translation: {
    workloads: new Map([['w', {}]]),
    services: new Map(),
    authorizations: new Map([
      ['a', {}],
      ['b', {}],
    ]),
    findings: [{ severity: 'error' }, { severity: 'warning' }, { severity: 'warning' }],
    enforcement: [],
  },
  pending: () => [],
  leader: { fence: null },
  edges: { size: 7 },
  delta: { clients: () => [{}, {}], refused: () => [{}] },
} as unknown as MeasuredApp // as: only what is counted

t.test('every family has its help, its type and its values', async (t) => {
  const page = controllerMetrics(app, 4096)
  const values = page.split('\n').filter((line) => !line.startsWith('#') && line !== '')
  t.same(values, [
    'sidestep_controller_ready 1',
    'sidestep_controller_leader 0',
    'sidestep_controller_clients 2',
    'sidestep_controller_published{kind="workload"} 1',
    'sidestep_controller_published{kind="service"} 0',
    'sidestep_controller_published{kind="authorization"} 2',
    'sidestep_controller_findings{severity="error"} 1',
    'sidestep_controller_findings{severity="warning"} 2',
    'sidestep_controller_refused 1',
    'sidestep_controller_edges 7',
    'process_resident_memory_bytes 4096',
  ])
  const families = new Set(values.map((line) => line.replace(/[ {].*/, '')))
  for (const family of families) {
    t.ok(page.includes(`# HELP ${family} `), family)
    t.ok(page.includes(`# TYPE ${family} gauge\n`), family)
  }
  t.ok(page.endsWith('# EOF\n'))
})
