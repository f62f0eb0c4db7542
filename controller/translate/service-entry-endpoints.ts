// SPDX-License-Identifier: Apache-2.0
// Endpoints that a ServiceEntry lists itself, or the host itself where it lists none and names are looked up.

import { create } from '@bufbuild/protobuf'
import { isNativeTunnel } from '../../mesh/model/enrolment.ts'
import {
  TunnelProtocol,
  type Workload,
  WorkloadSchema,
  WorkloadType,
} from '../../proto/generated/istio/workload_pb.js'
import { readEndpointAddress, readPortMap } from './endpoint-address.ts'
import { Fields } from './fields.ts'
import { parseLocality } from './locality.ts'
import { type LabelNames, labelsExtension } from './named-labels.ts'
import { Notes } from './notes.ts'
import { canonicalName, canonicalRevision } from './owner.ts'
import type { EntryFacts } from './service-entries.ts'
import { MAX_PORT, type ServiceInfo } from './service-info.ts'
import type { ConfigFinding, TranslateSettings } from './translation.ts'
import { membershipsOf, wireTrustDomain } from './workload-parts.ts'

export interface EndpointsPart {
  readonly workloads: readonly Workload[]
  readonly findings: readonly ConfigFinding[]
}

const MAX_WEIGHT = 2 ** 31 - 1

/** Workloads of the inline endpoints; `infos` are the hosts of the entry that count, `named` labels that somebody names. */
export function entryEndpoints(
  entry: EntryFacts,
  infos: readonly ServiceInfo[],
  settings: TranslateSettings,
  named: LabelNames,
): EndpointsPart {
  const { object, resolution } = entry
  const notes = new Notes(object)
  if (resolution === 'NONE' || infos.length === 0) return { workloads: [], findings: [] }
  const spec = new Fields(object.spec, 'spec', notes)
  const byUid = new Map<string, Workload>()
  const listed = spec.items('endpoints')
  const hasSelector = spec.raw('workloadSelector') !== undefined
  if (resolution === 'DNS' && spec.list('endpoints').length === 0 && !hasSelector) {
    for (const workload of impliedEndpoints(entry, infos, settings, notes)) byUid.set(workload.uid, workload)
  }
  for (const endpoint of listed) {
    const workload = endpointWorkload(endpoint, entry, infos, settings, named)
    if (workload === null) continue
    if (byUid.has(workload.uid)) {
      const message = 'the address stands twice; the first counts'
      notes.add('ENDPOINT_IGNORED', endpoint.path, message, 'merge the endpoints, or their weights')
    } else byUid.set(workload.uid, workload)
  }
  return { workloads: [...byUid.values()], findings: notes.findings }
}

function endpointWorkload(
  endpoint: Fields,
  { object, resolution }: EntryFacts,
  infos: readonly ServiceInfo[],
  settings: TranslateSettings,
  named: LabelNames,
): Workload | null {
  const where = readEndpointAddress(endpoint, resolution === 'DNS')
  if (where === null) return null
  const ports = readPortMap(endpoint, MAX_PORT)
  const labels = Object.fromEntries(endpoint.textMap('labels'))
  const hasTunnel = isNativeTunnel(labels)
  const locality = parseLocality(endpoint.text('locality'))
  const weight = endpoint.integer('weight', 0, MAX_WEIGHT) ?? 0
  return create(WorkloadSchema, {
    ...common(object.metadata, endpoint.text('address'), settings),
    ...where,
    network: endpoint.text('network') || settings.network,
    tunnelProtocol: hasTunnel ? TunnelProtocol.HBONE : TunnelProtocol.NONE,
    nativeTunnel: hasTunnel,
    serviceAccount: endpoint.text('serviceAccount'),
    canonicalName: canonicalName(labels, object.metadata.name),
    canonicalRevision: canonicalRevision(labels),
    services: membershipsOf(
      infos,
      () =>
        ({ name }) =>
          ports.get(name),
      endpoint.notes,
    ),
    ...(locality === undefined ? {} : { locality }),
    // Istio's schema cannot tell 0 from unset, so 0 is no weight.
    ...(weight === 0 ? {} : { capacity: weight }),
    extensions: [...labelsExtension(labels, named)],
  })
}

function impliedEndpoints(
  { object }: EntryFacts,
  infos: readonly ServiceInfo[],
  settings: TranslateSettings,
  notes: Notes,
): Workload[] {
  return infos.flatMap((info) => {
    if (info.hostname.startsWith('*')) {
      const message = 'a host with * cannot be looked up; it has no endpoints'
      notes.add('ENDPOINT_IGNORED', 'spec.hosts', message, 'list endpoints, or use resolution NONE')
      return []
    }
    return create(WorkloadSchema, {
      ...common(object.metadata, info.hostname, settings),
      hostname: info.hostname,
      network: settings.network,
      canonicalName: canonicalName({}, object.metadata.name),
      canonicalRevision: canonicalRevision({}),
      services: membershipsOf([info], () => () => undefined, notes),
    })
  })
}

function common(
  { namespace, name }: { namespace: string; name: string },
  address: string,
  settings: TranslateSettings,
) {
  return {
    uid: `${settings.clusterId}/networking.istio.io/ServiceEntry/${namespace}/${name}/${address}`,
    name,
    namespace,
    trustDomain: wireTrustDomain(settings),
    clusterId: settings.clusterId,
    workloadType: WorkloadType.POD,
    workloadName: name,
  }
}
