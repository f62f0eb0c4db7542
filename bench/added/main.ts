// SPDX-License-Identifier: Apache-2.0
// What does a tunnel add to a request, and what does a busy neighbour add to that? Writes ADDED.md beside RESULTS.md. Needs root
// (network namespaces); ZTUNNEL_BIN is asked beside us where it is given.
// usage: npm run bench:added [-- --rounds N --seconds N --out DIRECTORY]
import { writeFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { readBenchConfig } from '../config.ts'
import { describeCommit } from '../measure/machine.ts'
import { BULK_BYTES_PER_SECOND, REQUESTS_PER_SECOND } from '../questions/neighbour.ts'
import { DIRECT } from '../subjects/direct.ts'
import { SIDESTEP } from '../subjects/sidestep.ts'
import type { Subject } from '../subjects/subject.ts'
import { ztunnel } from '../subjects/ztunnel.ts'
import { type Latencies, type Round, SideBySide } from './measure.ts'
import { renderPage } from './page.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '8' },
    out: { type: 'string', default: join(import.meta.dirname, '..') },
  },
})
const [ROUNDS, SECONDS] = [Number(values.rounds), Number(values.seconds)]
const WARM_UP_SECONDS = 2
/** Before the first round: compiled code is what a node runs for weeks. */
const FIRST_SECONDS = 10
const { path, ztunnelBinary } = readBenchConfig()

async function subjects(): Promise<readonly Subject[]> {
  const peer = await ztunnel(ztunnelBinary, path)
  if (!('missing' in peer)) return [DIRECT, SIDESTEP, peer]
  console.log(`without ztunnel: ${peer.missing}`)
  return [DIRECT, SIDESTEP]
}

async function measure(): Promise<Round[]> {
  const lab = new SideBySide()
  try {
    await lab.start(await subjects(), path)
    await lab.latencies({ warmUpSeconds: 0, seconds: FIRST_SECONDS })
    const rounds: Round[] = []
    for (let round = 0; round < ROUNDS; round++) {
      const load = loadavg()[0] ?? Number.NaN
      const timing = { warmUpSeconds: WARM_UP_SECONDS, seconds: SECONDS }
      const alone = await lab.latencies(timing)
      const beside = new Map<Subject['name'], Latencies>()
      for (const name of lab.names)
        if (name !== 'direct') beside.set(name, await lab.latenciesBeside(name, timing))
      rounds.push({ load, alone, beside })
    }
    return rounds
  } finally {
    await lab.close()
  }
}

const text = renderPage(await measure(), {
  ...{ cores: cpus().length, cpu: cpus()[0]?.model.trim() ?? 'unknown', node: process.version },
  ...{ seconds: SECONDS, requestsPerSecond: REQUESTS_PER_SECOND },
  gbitPerSecond: (BULK_BYTES_PER_SECOND * 8) / 1e9,
  commit: await describeCommit(join(import.meta.dirname, '..', '..')),
})
writeFileSync(join(values.out, 'ADDED.md'), text)
console.log(text)
