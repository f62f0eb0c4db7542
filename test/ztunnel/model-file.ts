// SPDX-License-Identifier: Apache-2.0
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import t, { type Test } from 'tap'
import { parseLocalConfig } from '../../mesh/model/local-config.ts'
import type { MeshState } from '../../mesh/model/mesh-state.ts'
import { ModelStore } from '../../mesh/model/model-store.ts'
import { WATCH_INTERVAL_MS } from '../../mesh/runtime/watched-file.ts'
import { ModelFile, type ModelFileOptions } from '../../ztunnel/model-file.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { workload } from '../support/mesh.ts'

const mesh = (...names: string[]): string =>
  `workloads:\n${names.map((name, i) => `- ${workload(name, `10.0.0.${i + 1}`)}\n`).join('')}`

/** A store fed by a file of the test's own. */
class Lab {
  readonly clock = new ManualClock()
  readonly states: MeshState[] = []
  readonly logged: Readonly<Record<string, unknown>>[] = []
  readonly store: ModelStore
  readonly file: ModelFile
  readonly path: string

  constructor(
    t: Test,
    parse: ModelFileOptions['parse'] = async (text, options) => parseLocalConfig(text, options),
  ) {
    this.path = join(t.testdir(), 'mesh.yaml')
    const write = (line: string): void => void this.logged.push(JSON.parse(line))
    const log = pino({ level: 'info' }, { write })
    this.store = new ModelStore(log, (state) => this.states.push(state))
    this.file = new ModelFile({
      ...{ file: this.path, trustDomain: 'example.org', clock: this.clock, parse, log },
      onConfig: (config) => this.store.replace(config),
    })
    t.teardown(() => this.file.close())
  }

  async change(text: string): Promise<void> {
    writeFileSync(this.path, text)
    await this.look()
  }
  async look(): Promise<void> {
    this.clock.advance(WATCH_INTERVAL_MS)
    while (this.clock.pendingCount === 0) await new Promise((resolve) => setImmediate(resolve))
  }
}

t.test('each good file is a new version, and whoever asks gets the newest', async (t) => {
  const lab = new Lab(t)
  t.equal(lab.store.state, null)
  writeFileSync(lab.path, mesh('a'))
  await lab.file.start()
  t.equal(lab.store.state?.version, 1)
  t.equal(lab.store.state?.workloads[0]?.trustDomain, 'example.org', 'what the file does not say')
  await lab.change(mesh('a', 'b'))
  t.same(
    lab.states.map(({ version, workloads }) => [version, workloads.length]),
    [
      [1, 1],
      [2, 2],
    ],
  )
  t.equal(lab.store.state, lab.states[1])
})

t.test('a broken file changes nothing: its mistakes are listed until it is good again', async (t) => {
  const lab = new Lab(t)
  writeFileSync(lab.path, mesh('a'))
  await lab.file.start()
  const good = lab.store.state
  for (const [text, finding] of [
    ['workloads: [', /mesh\.yaml:1:/],
    ['worklaods: []\nservices: 5', /mesh\.yaml:1:1: worklaods: unknown field; did you mean "workloads"\?/],
    [`${mesh('a')}${mesh('b')}`, /stands twice/],
  ] as const) {
    await lab.change(text)
    t.equal(lab.store.state, good, text)
    t.match(lab.file.findings[0], finding)
    t.match(lab.logged.at(-1), { level: 50, reason: 'CONFIG_INVALID', findings: [finding] })
  }
  await lab.change('worklaods: []\nservices: 5')
  t.equal(lab.file.findings.length, 2, 'all of them')
  t.equal(lab.states.length, 1, 'nobody was told')
  await lab.change(mesh('b'))
  t.same(lab.file.findings, [])
  t.equal(lab.store.state?.version, 2, 'versions are of models, not of files')
})

t.test('a file that is not there at first, or vanishes, leaves what there is', async (t) => {
  const lab = new Lab(t)
  await lab.file.start()
  t.equal(lab.store.state, null)
  t.match(lab.logged, [{ level: 50, reason: 'CONFIG_INVALID', err: { code: 'ENOENT' } }])
  await lab.change(mesh('a'))
  rmSync(lab.path)
  await lab.look()
  t.equal(lab.store.state?.workloads.length, 1)
  t.match(lab.logged.at(-1), { err: { code: 'ENOENT' } })
})

t.test('a parser that is lost with its thread is asked again', async (t) => {
  let isLost = true
  const lab = new Lab(t, async (text, options) => {
    if (isLost) throw new Error('thread lost')
    return parseLocalConfig(text, options)
  })
  writeFileSync(lab.path, mesh('a'))
  await lab.file.start()
  await lab.look()
  t.equal(lab.store.state, null)
  t.equal(lab.logged.length, 1, 'told once')
  isLost = false
  await lab.look()
  t.equal(lab.store.state?.version, 1)
})

t.test('a closed source looks no more', async (t) => {
  const lab = new Lab(t)
  writeFileSync(lab.path, mesh('a'))
  await lab.file.start()
  lab.file.close()
  t.equal(lab.clock.pendingCount, 0)
})
