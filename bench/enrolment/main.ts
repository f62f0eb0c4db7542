// SPDX-License-Identifier: Apache-2.0
// How soon is a running pod in the mesh, and what do requests notice that are under way meanwhile? Writes ENROLMENT.md beside
// RESULTS.md. Needs root (network namespaces). usage: npm run bench:enrolment [-- --rounds N --changes N --out DIRECTORY]
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { labMesh, MeshLab, poll } from '../../test/support/mesh-lab.ts'
import { RequestLoad } from '../../test/support/request-load.ts'
import { NAT_TABLE, readRedirectRules } from '../../ztunnel/supervisor/enroll/redirect-rules.ts'
import { describeCommit } from '../measure/machine.ts'
import { roundRow, roundTable } from '../measure/round-table.ts'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    changes: { type: 'string', default: '20' },
    out: { type: 'string', default: join(import.meta.dirname, '..') },
  },
})
const [ROUNDS, CHANGES] = [Number(values.rounds), Number(values.changes)]
const TARGET = { ip: '10.2.0.1', port: 8080 }
const PER_SECOND = 500
const KEPT = 20 // connections that are there before and after; every other request has one of its own
/** Requests between two changes: both states carry some. */
const REQUESTS_BETWEEN = 250
const LOOK_MS = 2
const ENROLMENT_GOAL_MS = 2_000

/** One round, fresh processes. Times are of every change, in ms. */
interface Round {
  readonly load: number
  readonly inMs: readonly number[]
  readonly outMs: readonly number[]
  readonly perSecond: number
  readonly begun: number
  readonly failures: number
}

/** True while new connections of front are brought to its node's ztunnel. */
function isRedirected(lab: MeshLab): boolean {
  const { tables } = readRedirectRules(lab.namespaceOf('front'))
  const nat = tables.find(({ name }) => name === NAT_TABLE)
  return nat?.chains.some(({ rules }) => rules.length > 0) ?? false
}

async function change(lab: MeshLab, isIn: boolean): Promise<number> {
  const startMs = performance.now()
  await lab.enrol('n1', isIn ? ['front', 'batch'] : ['batch'])
  while (isRedirected(lab) !== isIn) {
    if (performance.now() - startMs > 60_000) throw new Error(`not ${isIn ? 'in' : 'out'} within a minute`)
    await wait(LOOK_MS)
  }
  return performance.now() - startMs
}

async function measure(): Promise<Round> {
  const load = loadavg()[0] ?? Number.NaN
  const directory = mkdtempSync(join(tmpdir(), 'bench-enrolment-'))
  const lab = await MeshLab.start(directory, labMesh([]), { SIDESTEP_DRAIN_SECONDS: '60' })
  try {
    const requests = new RequestLoad(lab, 'front', { ...TARGET, perSecond: PER_SECOND, kept: KEPT })
    await requests.more(PER_SECOND)
    const [inMs, outMs]: [number[], number[]] = [[], []]
    for (let each = 0; each < CHANGES; each++) {
      outMs.push(await change(lab, false))
      await requests.more(REQUESTS_BETWEEN)
      inMs.push(await change(lab, true))
      await requests.more(REQUESTS_BETWEEN)
    }
    const last = (await lab.records('n1')).length
    await poll('calls are tunnelled', async () => {
      const records = (await lab.records('n1')).slice(Math.max(0, last - 1))
      return records.some(({ transport, reason }) => transport === 'HBONE' && reason === 'OK') || null
    })
    const { ms, begun, answered } = await requests.finish()
    return { load, inMs, outMs, perSecond: (begun * 1000) / ms, begun, failures: begun - answered }
  } finally {
    await lab.close()
    rmSync(directory, { recursive: true, force: true })
  }
}

function median(samples: readonly number[]): number {
  return samples.toSorted((left, right) => left - right)[samples.length >> 1] ?? Number.NaN
}

function page(rounds: readonly Round[], commit: string): string {
  const of = (figure: (round: Round) => number): number[] => rounds.map(figure)
  const goal = `≤ ${ENROLMENT_GOAL_MS}`
  const isSoon = (figure: number): boolean => figure <= ENROLMENT_GOAL_MS
  const rows = [
    roundRow(
      'load of the machine before the round',
      of(({ load }) => load),
      1,
    ),
    roundRow(
      'a running pod comes in: median, ms',
      of(({ inMs }) => median(inMs)),
      1,
      goal,
      isSoon,
    ),
    roundRow(
      'slowest, ms',
      of(({ inMs }) => Math.max(...inMs)),
      1,
      goal,
      isSoon,
    ),
    roundRow(
      'it goes out: median, ms',
      of(({ outMs }) => median(outMs)),
      1,
    ),
    roundRow(
      'requests a second meanwhile',
      of(({ perSecond }) => perSecond),
      0,
      `${PER_SECOND} asked`,
      (figure) => figure >= PER_SECOND * 0.9,
    ),
    roundRow(
      'requests',
      of(({ begun }) => begun),
      0,
    ),
    roundRow(
      'requests that failed',
      of(({ failures }) => failures),
      0,
      '0',
      (figure) => figure === 0,
    ),
  ]
  return `<!-- Written by \`npm run bench:enrolment\`. -->
# A pod comes into the mesh while it runs

Two nodes (supervisor and data process, 2 workers each) and a pod that asks an HTTP service on the other node ${PER_SECOND} times a second,
half of it on ${KEPT} connections that stay open; it comes in and goes out ${CHANGES} times. ${cpus().length} cores, shared with everything:
${cpus()[0]?.model.trim()}, Node ${process.version}, commit ${commit}. Fresh processes in every round.

${roundTable(rounds.length, rows)}

- **Comes in, goes out**: from the moment the node's list of pods says so until new connections of the pod are redirected, and are not.
- **Requests**: the rate is what the asking program began by its own clock; one that is refused, cut or answered wrongly fails.
- 100 pods at once are in [NODE.md](NODE.md); what a new pod waits for is measured on a real cluster, with containers and with the CNI plugin, by
  \`test/nodes/install.ts\`.
`
}

const rounds: Round[] = []
for (let round = 0; round < ROUNDS; round++) rounds.push(await measure())
const text = page(rounds, await describeCommit(join(import.meta.dirname, '../..')))
writeFileSync(join(values.out, 'ENROLMENT.md'), text)
process.stdout.write(text)
