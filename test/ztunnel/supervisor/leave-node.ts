// SPDX-License-Identifier: Apache-2.0
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import t from 'tap'
import { leaveNode } from '../../../ztunnel/supervisor/leave-node.ts'

const lines: Readonly<Record<string, unknown>>[] = []
const log = pino({ level: 'info', base: {} }, { write: (line: string) => lines.push(JSON.parse(line)) })

t.test('keys, requests and sockets go; what others keep beside the sockets stays', async (t) => {
  const root = t.testdir({
    state: { 'node.key': 'secret', 'model.journal': '', 'certificates.sealed': '', sub: { deep: 'x' } },
    spool: { alive: '1.00', 'a.request': '', 'b.tmp': '' },
    run: {
      ...{ 'admin.sock': '', 'admin.sock.handover': '', 'compile-cache-1234': { file: '' } },
      'other.sock': 'theirs',
    },
  })
  leaveNode(
    {
      stateDirectory: join(root, 'state'),
      cniSpoolDirectory: join(root, 'spool'),
      adminSocket: join(root, 'run/admin.sock'),
    },
    log,
  )
  t.same(readdirSync(join(root, 'state')), [])
  t.same(readdirSync(join(root, 'spool')), [])
  t.same(readdirSync(join(root, 'run')), ['other.sock'])
  t.match(lines.splice(0), [{ msg: 'the node is left as it was' }])
})

t.test('what is not there is gone already, and what cannot be read is told', async (t) => {
  const root = t.testdir({ run: {}, state: 'a file' })
  const places = { cniSpoolDirectory: '', adminSocket: join(root, 'run/admin.sock') }
  leaveNode({ ...places, stateDirectory: join(root, 'nowhere') }, log)
  t.equal(lines.splice(0).length, 1)
  leaveNode({ ...places, stateDirectory: join(root, 'state') }, log)
  t.match(lines.splice(0), [{ msg: 'something of ours stays on the node' }, {}])
})
