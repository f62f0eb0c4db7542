// SPDX-License-Identifier: Apache-2.0
// Labels by which the objects of a waypoint are recognised: by the translation, by Istio's node agent, and by us. SPEC
// HBONE §9.2. Pure.
import { ISTIO_MODE_LABEL, MODE_LABEL } from '../../mesh/model/enrolment.ts'
import { MANAGED_BY, MANAGER, WAYPOINT_CLASS } from '../translate/waypoint-class.ts'
import { gatewayLabel } from '../translate/waypoint-names.ts'
import { GATEWAY_NAME } from '../translate/waypoint-request.ts'

const GATEWAY_CLASS_NAME = 'gateway.networking.k8s.io/gateway-class-name'
/** What GATEWAY_NAME was called before; selectors of people may still use it. */
const OLD_GATEWAY_NAME = 'istio.io/gateway-name'

type Labels = Readonly<Record<string, string>>

/** What the pods of a waypoint are selected by; a Deployment never changes it. */
export function selectorLabels(gateway: string): Labels {
  return { [GATEWAY_NAME]: gatewayLabel(gateway) }
}

/** On every object of a waypoint. */
export function objectLabels(gateway: string): Labels {
  return { ...selectorLabels(gateway), [GATEWAY_CLASS_NAME]: WAYPOINT_CLASS, [MANAGED_BY]: MANAGER }
}

/** On its pods: they speak HBONE themselves, so no ztunnel takes their traffic. */
export function podLabels(gateway: string): Labels {
  return {
    ...objectLabels(gateway),
    [OLD_GATEWAY_NAME]: gatewayLabel(gateway),
    [MODE_LABEL]: 'none',
    [ISTIO_MODE_LABEL]: 'none',
  }
}

const RESERVED = new Set(Object.keys(podLabels('')))

/** True for labels that nobody else may set on the objects of a waypoint. */
export function isReservedLabel(key: string): boolean {
  return RESERVED.has(key)
}
