// SPDX-License-Identifier: Apache-2.0
// What the objects of a waypoint are called. The name of a Gateway may be longer than a Service's or a label's may be, and
// have dots; a shortened one ends in a hash, so that two Gateways of a namespace never share objects. Pure.
import { stableHash } from './stable-hash.ts'

const LABEL_LENGTH = 63 // SPEC KUBERNETES labels, and RFC 1035 labels
const HASH = 8
const SERVICE_NAME = /^[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$/ // SPEC RFC1035 §2.3.1

/** Value of the label `gateway.networking.k8s.io/gateway-name` on what belongs to a Gateway. */
export function gatewayLabel(gateway: string): string {
  return gateway.length <= LABEL_LENGTH ? gateway : hashed(gateway, gateway)
}

/** Name of a waypoint's Deployment, Service, ServiceAccount and PodDisruptionBudget: an RFC 1035 label. */
export function waypointObjectName(gateway: string): string {
  if (SERVICE_NAME.test(gateway)) return gateway
  const plain = gateway.toLowerCase().replaceAll(/[^a-z0-9-]/g, '-')
  return hashed(/^[a-z]/.test(plain) ? plain : `w${plain}`, gateway)
}

function hashed(text: string, gateway: string): string {
  const hash = stableHash(gateway).toString(16).padStart(HASH, '0')
  return `${text.slice(0, LABEL_LENGTH - HASH - 1)}-${hash}`
}
