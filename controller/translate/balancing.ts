// SPDX-License-Identifier: Apache-2.0
// How a service's endpoints are chosen. SPEC HBONE §9.1, "Load balancing mapping".
import {
  LoadBalancing_HealthPolicy as HealthPolicy,
  LoadBalancing_Mode as Mode,
  LoadBalancing_Scope as Scope,
} from '../../proto/generated/istio/workload_pb.js'
import type { ConfigObject } from '../watch/config-object.ts'
import type { Fields } from './fields.ts'

const ANNOTATION = 'networking.istio.io/traffic-distribution'
const DISTRIBUTIONS = ['PreferClose', 'PreferSameZone', 'PreferSameNode', 'Any'] as const
const CLOSE = [Scope.NETWORK, Scope.REGION, Scope.ZONE]

export interface Balancing {
  readonly routingPreference: Scope[]
  readonly mode: Mode
  readonly healthPolicy: HealthPolicy
}

/** Undefined: all healthy endpoints alike. */
export function balancingOf(
  service: ConfigObject,
  spec: Fields,
  namespace: ConfigObject | undefined,
): Balancing | undefined {
  const healthPolicy = spec.flag('publishNotReadyAddresses')
    ? HealthPolicy.ALLOW_ALL
    : HealthPolicy.ONLY_HEALTHY
  if (spec.oneOf('internalTrafficPolicy', ['Local', 'Cluster'], 'Cluster') === 'Local') {
    return { routingPreference: [Scope.NODE], mode: Mode.STRICT, healthPolicy }
  }
  const routingPreference = preferenceOf(distributionOf(service, spec, namespace))
  if (routingPreference.length > 0) return { routingPreference, mode: Mode.FAILOVER, healthPolicy }
  if (healthPolicy === HealthPolicy.ONLY_HEALTHY) return undefined
  return { routingPreference, mode: Mode.UNSPECIFIED_MODE, healthPolicy }
}

function distributionOf(service: ConfigObject, spec: Fields, namespace: ConfigObject | undefined): string {
  const own = spec.oneOf('trafficDistribution', DISTRIBUTIONS, '')
  if (own !== '') return own
  const annotation: unknown = service.metadata.annotations[ANNOTATION]
  const isKnown = DISTRIBUTIONS.some((each) => each === annotation)
  if (typeof annotation === 'string' && annotation !== '' && !isKnown) {
    const fix = `use one of ${DISTRIBUTIONS.join(', ')}`
    spec.notes.add(
      'INVALID_VALUE',
      `metadata.annotations.${ANNOTATION}`,
      'no distribution; it is ignored',
      fix,
    )
  }
  // A wrong one of the namespace is not the service's fault.
  const inherited: unknown = isKnown ? annotation : namespace?.metadata.annotations[ANNOTATION]
  return DISTRIBUTIONS.find((each) => each === inherited) ?? ''
}

function preferenceOf(distribution: string): Scope[] {
  if (distribution === 'PreferSameNode') return [...CLOSE, Scope.SUBZONE, Scope.NODE]
  return distribution === 'PreferClose' || distribution === 'PreferSameZone' ? CLOSE.slice() : []
}
