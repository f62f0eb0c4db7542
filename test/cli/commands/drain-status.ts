// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { drainStatus } from '../../../cli/commands/drain-status.ts'
import { plainFleet } from '../../../cli/fleet/fleet.ts'
import { runCommand } from '../../support/cli-run.ts'
import { nodeView, paperNode, shopMesh } from '../../support/node-views.ts'

const HELD = {
  ...{ pod: 'shop/fr\u001bont', direction: 'outbound', source: '10.1.0.1:4', destination: '10.96.0.10:80' },
  ...{ protocol: 'HBONE', peer: '10.2.0.1:15008', bytesSent: 1, bytesReceived: 2, ageMs: 1500 },
}
const STARTED = '2026-01-01T00:00:00.000Z'
const DRAINING = '2026-01-02T00:00:00.000Z'
const SERVING = {
  ...{ pid: 7, version: '0.2.0', startedAt: STARTED, drainingSince: null },
  ...{ connectionCount: 0, idleTunnelCount: 0, connections: [], generations: [] },
}
const BEFORE = {
  ...{ pid: 6, version: '0.1.0', startedAt: STARTED, drainingSince: DRAINING },
  ...{ connectionCount: 2000, idleTunnelCount: 3, connections: [HELD] },
}

async function shown(page: object): Promise<string> {
  const node = {
    ...paperNode(nodeView('n1', shopMesh())),
    read: async (path: string) => JSON.stringify(path === '/drain' ? page : { node: 'n1' }),
  }
  const { output, code } = await runCommand(plainFleet([node]), drainStatus)
  t.equal(code, 0)
  return output
}

t.test('a node where nothing drains is one row', async (t) => {
  const output = await shown(SERVING)
  t.match(output, /^n1 +serving +7 +0\.2\.0 +2026-01-01\S* +- +-$/m)
  t.notMatch(output, /POD/)
})

t.test('what drains comes before what serves, then what it waits for', async (t) => {
  const output = await shown({ ...SERVING, generations: [BEFORE] })
  t.match(output, /^n1 +draining +6 +0\.1\.0 +2026-01-02\S* +2000 +3$\n^n1 +serving +7 /m)
  t.match(output, /^n1 +6 +shop\/fr\S*ont +outbound +10\.1\.0\.1:4 +10\.96\.0\.10:80 +mTLS /m)
  t.notOk(output.includes('\u001b'), 'what a terminal would obey')
})
