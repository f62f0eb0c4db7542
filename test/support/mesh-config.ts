// SPDX-License-Identifier: Apache-2.0
// What a ztunnel makes of Kubernetes' and Istio's objects: translated as the controller does, decoded as the node does.
import { create } from '@bufbuild/protobuf'
import { decodePolicy } from '../../mesh/discovery/decode-policy.ts'
import { decodeAddress } from '../../mesh/discovery/decode-workload.ts'
import type { MeshConfig } from '../../mesh/model/mesh-state.ts'
import { AddressSchema } from '../../proto/generated/istio/workload_pb.js'
import { translateYaml } from './translated.ts'

/** The model of a text with one or more documents. @throws Error when the controller has findings */
export function meshConfigOf(yaml: string): MeshConfig {
  const { workloads, services, authorizations, findings } = translateYaml(yaml)
  if (findings.length > 0) throw new Error(JSON.stringify(findings))
  const addresses = [
    ...[...workloads.values()].map((value) => ({ case: 'workload', value }) as const),
    ...[...services.values()].map((value) => ({ case: 'service', value }) as const),
  ].map((type) => decodeAddress(create(AddressSchema, { type })))
  return {
    workloads: addresses.flatMap((each) => (each.kind === 'workload' ? each.workload : [])),
    services: addresses.flatMap((each) => (each.kind === 'service' ? each.service : [])),
    policies: [...authorizations.values()].map(decodePolicy),
  }
}
