// SPDX-License-Identifier: Apache-2.0
// Some load-agents in the pods of a MeshLab, told together.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { AGENT_ENVIRONMENT } from './compile-caches.ts'
import type { LoadCommand, LoadReport } from './load-agent.ts'
import type { LabPod, MeshLab } from './mesh-lab.ts'

const AGENT = fileURLToPath(new URL('./load-agent.ts', import.meta.url))

/** One agent per entry; the same pod may have several. */
export class PodLoad {
  readonly #agents: readonly ChildProcess[]

  constructor(lab: MeshLab, pods: readonly LabPod[]) {
    this.#agents = pods.map((pod) =>
      lab.namespaceOf(pod).run(() =>
        spawn(process.execPath, ['--no-warnings', AGENT], {
          stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
          env: AGENT_ENVIRONMENT,
        }),
      ),
    )
  }

  /** Tells each the same, waits until all have done it, and adds up what they report. */
  async tell(command: LoadCommand): Promise<LoadReport> {
    const reports = await Promise.all(
      this.#agents.map(async (agent) => {
        agent.send(command)
        const [report] = (await once(agent, 'message')) as [LoadReport] // as: what the agent sends
        return report
      }),
    )
    const sum = (count: Exclude<keyof LoadReport, 'failures'>): number =>
      reports.reduce((total, report) => total + report[count], 0)
    return {
      openStreams: sum('openStreams'),
      equalStreams: sum('equalStreams'),
      streamBytes: sum('streamBytes'),
      connects: sum('connects'),
      failures: reports.flatMap(({ failures }) => failures),
    }
  }

  close(): void {
    for (const agent of this.#agents) if (agent.connected) agent.disconnect()
  }
}
