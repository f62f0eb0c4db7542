// SPDX-License-Identifier: Apache-2.0
// The page about pods that come into the mesh. Pure.
import { roundRow, roundTable } from '../measure/round-table.ts'
import { median } from '../measure/statistics.ts'
import type { NewPods } from './new-pods.ts'
import type { RunningPod } from './running-pod.ts'

/** In ms: of a pod that runs, and what the start of a new one may take longer. */
const [ENROLMENT_GOAL_MS, ADDED_GOAL_MS] = [2_000, 200]
/** Of the rate that was asked for, so that it counts. */
const RATE_SHARE = 0.9

/** What the page says of the run itself. */
export interface RunDescription {
  readonly cores: number
  readonly cpu: string
  readonly node: string
  readonly commit: string
  /** Of each running pod: how often it came in and went out. */
  readonly changes: number
  readonly requestsPerSecond: number
  readonly keptConnections: number
}

function runningRows(rounds: readonly RunningPod[], asked: number): readonly string[] {
  const of = (figure: (round: RunningPod) => number): number[] => rounds.map(figure)
  const isSoon = (figure: number): boolean => figure <= ENROLMENT_GOAL_MS
  const goal = `≤ ${ENROLMENT_GOAL_MS}`
  const loads = of(({ load }) => load)
  const inMs = of((round) => median(round.inMs))
  const slowest = of((round) => Math.max(...round.inMs))
  const outMs = of((round) => median(round.outMs))
  const begun = of((round) => round.begun)
  const rates = of(({ perSecond }) => perSecond)
  const failures = of((round) => round.failures)
  return [
    roundRow('load of the machine before the round', loads, 1),
    roundRow('it comes in: median, ms', inMs, 1, goal, isSoon),
    roundRow('slowest, ms', slowest, 1, goal, isSoon),
    roundRow('it goes out: median, ms', outMs, 1),
    roundRow('requests a second', rates, 0, `${asked} asked`, (rate) => rate >= asked * RATE_SHARE),
    roundRow('requests', begun, 0),
    roundRow('requests that failed', failures, 0, '0', (count) => count === 0),
  ]
}

/** A row of ms: median, slowest, and of the median the goal. */
function startRow(what: string, ms: readonly number[], goalMs: number | null = null): string {
  const middle = median(ms)
  const [goal, verdict] =
    goalMs === null ? ['', ''] : [`≤ ${goalMs}`, middle <= goalMs ? 'reached' : '**missed**']
  return `| ${what} | ${middle.toFixed(0)} | ${Math.max(...ms).toFixed(0)} | ${goal} | ${verdict} |`
}

function newPodText({ withoutMesh, outOfMesh, inMesh, waited }: NewPods): string {
  const added = inMesh.map((each) => each - median(withoutMesh))
  return `# A new pod

${withoutMesh.length} pods of each kind, one after the other, on a node with kubelet and containerd: from their creation until the apiserver says that
their container runs. *Out of the mesh*: the CNI plugin asks, and is told that the pod is none of the mesh's.

| ms | Median | Slowest | Goal | |
|---|---|---|---|---|
${[
  startRow('before the mesh is installed', withoutMesh),
  startRow('with the plugin, out of the mesh', outOfMesh),
  startRow('with the plugin, in the mesh', inMesh),
  startRow('in the mesh, more than the median before it was installed', added, ADDED_GOAL_MS),
  startRow('of it the plugin has waited for the ztunnel', waited, ADDED_GOAL_MS),
].join('\n')}

- 100 running pods at once are in [NODE.md](NODE.md).
`
}

/** The whole page. */
export function enrolmentPage(
  rounds: readonly RunningPod[],
  newPods: NewPods,
  { cores, cpu, node, commit, changes, requestsPerSecond, keptConnections }: RunDescription,
): string {
  return `<!-- Written by \`npm run bench:enrolment\`. -->
# A pod comes into the mesh while it runs

Two nodes (supervisor and data process, 2 workers each) and a pod that asks an HTTP service on the other node ${requestsPerSecond} times a second,
half of it on ${keptConnections} connections that stay open; it comes in and goes out ${changes} times. ${cores} cores, shared with everything:
${cpu}, Node ${node}, commit ${commit}. Fresh processes in every round.

${roundTable(rounds.length, runningRows(rounds, requestsPerSecond))}

- **Comes in, goes out**: from the moment the node's list of pods says so until new connections of the pod are redirected, and are not.
- **Requests**: the rate is what the asking program began by its own clock; one that is refused, cut or answered wrongly fails.

${newPodText(newPods)}`
}
