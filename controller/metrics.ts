// SPDX-License-Identifier: Apache-2.0
// The metrics page of the controller: what it serves, to whom, and what somebody should look at. OpenMetrics text. Pure.
import type { App } from './app.ts'

/** What the page reads of an App. */
export type MeasuredApp = Pick<App, 'translation' | 'pending'> & {
  readonly leader: Pick<App['leader'], 'fence'>
  readonly edges: Pick<App['edges'], 'size'>
  readonly delta: Pick<App['delta'], 'clients' | 'refused'>
}

function gauge(name: string, help: string, ...samples: readonly string[]): string {
  return `# HELP ${name} ${help}\n# TYPE ${name} gauge\n${samples.map((sample) => `${name}${sample}\n`).join('')}`
}

/** The whole page. `residentBytes` is the memory of this process. */
export function controllerMetrics(app: MeasuredApp, residentBytes: number): string {
  const { workloads, services, authorizations, findings } = app.translation
  const of = (severity: string): number => findings.filter((each) => each.severity === severity).length
  return [
    gauge(
      'sidestep_controller_ready',
      '1 when the configuration was read as a whole',
      ` ${Number(app.pending().length === 0)}`,
    ),
    gauge(
      'sidestep_controller_leader',
      '1 on the replica that leads',
      ` ${Number(app.leader.fence !== null)}`,
    ),
    gauge(
      'sidestep_controller_clients',
      'ztunnels and waypoints that follow this replica',
      ` ${app.delta.clients().length}`,
    ),
    gauge(
      'sidestep_controller_published',
      'what is published, by kind',
      `{kind="workload"} ${workloads.size}`,
      `{kind="service"} ${services.size}`,
      `{kind="authorization"} ${authorizations.size}`,
    ),
    gauge(
      'sidestep_controller_findings',
      'what could not be translated as meant, by severity',
      `{severity="error"} ${of('error')}`,
      `{severity="warning"} ${of('warning')}`,
    ),
    gauge('sidestep_controller_refused', 'resources that a client refused', ` ${app.delta.refused().length}`),
    gauge(
      'sidestep_controller_edges',
      'pairs that talk, as nodes report to this replica',
      ` ${app.edges.size}`,
    ),
    gauge('process_resident_memory_bytes', 'resident memory of the process', ` ${residentBytes}`),
    '# EOF\n',
  ].join('')
}
