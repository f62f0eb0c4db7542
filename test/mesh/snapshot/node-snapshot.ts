// SPDX-License-Identifier: Apache-2.0
// What a node keeps follows from what it has: a controller, a CA elsewhere, or neither.
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import t from 'tap'
import { systemClock } from '../../../mesh/runtime/clock.ts'
import { compactJournal } from '../../../mesh/snapshot/compact-journal.ts'
import { NodeSnapshot } from '../../../mesh/snapshot/node-snapshot.ts'
import { readConfig } from '../../../ztunnel/config.ts'

function snapshotOf(directory: string, more: Readonly<Record<string, string>>): NodeSnapshot {
  const { options: config } = readConfig([], { SIDESTEP_STATE_DIRECTORY: directory, ...more })
  const log = pino({ level: 'silent' })
  return new NodeSnapshot({
    config,
    compact: compactJournal,
    certificates: () => [],
    clock: systemClock,
    log,
  })
}

t.test('a node that reads files keeps nothing', async (t) => {
  const directory = join(t.testdir(), 'state')
  const snapshot = snapshotOf(directory, { SIDESTEP_CONFIG_FILE: 'mesh.yaml', SIDESTEP_CA_DIRECTORY: 'ca' })
  await snapshot.start()
  snapshot.certificatesChanged()
  await snapshot.close()
  t.equal(snapshot.journal, null)
  t.equal(snapshot.certificateOf('spiffe://d/ns/shop/sa/front'), undefined)
  t.notOk(existsSync(directory))
})

t.test('a node with a controller keeps configuration and certificates, under a key of its own', async (t) => {
  const directory = join(t.testdir(), 'state')
  const snapshot = snapshotOf(directory, { SIDESTEP_CONTROLLER_ADDRESSES: 'localhost:1' })
  await snapshot.start()
  t.equal(await snapshot.journal?.read(() => {}), null)
  snapshot.journal?.setConfirmed(true)
  snapshot.certificatesChanged()
  await snapshot.close()
  t.same(readdirSync(directory).toSorted(), ['certificates.sealed', 'model.journal', 'node.key'])
})
