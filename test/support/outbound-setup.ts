// SPDX-License-Identifier: Apache-2.0
// From lines of configuration to the decision about one connection.
import { DestinationPicker } from '../../mesh/balance/destination-picker.ts'
import { describeDestination } from '../../mesh/model/destination.ts'
import { workloadFacts } from '../../mesh/model/workload-facts.ts'
import { decideOutbound } from '../../ztunnel/decide/outbound-decision.ts'
import { meshOf, workload } from './mesh.ts'

/** A client, and what its mesh has besides. */
export interface OutboundSetup {
  readonly workloads?: readonly string[]
  readonly services?: readonly string[]
  readonly source?: string
  readonly ip?: string
  readonly port?: number
  readonly network?: string
  readonly tried?: readonly string[]
}

/** What becomes of a connection of the client to `ip` and `port`. */
export function decideFor({
  workloads = [],
  services = [],
  source = '',
  ip = '10.9.0.1',
  port = 80,
  network = '',
  tried,
}: OutboundSetup): ReturnType<typeof decideOutbound> {
  const lines = (list: readonly string[]): string => list.map((each) => `- ${each}\n`).join('')
  const mesh = meshOf(
    `workloads:\n${lines([workload('client', '10.0.0.1', source), ...workloads])}services:${services.length === 0 ? ' []' : `\n${lines(services)}`}`,
  )
  const client = mesh.workloadByUid('client')
  if (client === undefined) throw new Error('no client')
  const view = structuredClone(describeDestination(mesh, client, network, ip, port))
  const from = { workload: workloadFacts(client), isSocks5Enabled: false }
  return decideOutbound(
    from,
    view,
    new DestinationPicker(view, () => 0),
    tried === undefined ? null : new Set(tried),
  )
}
