// SPDX-License-Identifier: Apache-2.0
// Workload identities: `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`, and no other form.
// Input comes from peers' certificates: bounded, never throws, one spelling per identity.
import { type Refusal, refuse } from '../errors/refusal.ts'

// SPEC SPIFFE-ID §2.3: implementations must support ids of up to 2048 bytes and should not make longer ones.
const MAX_ID_LENGTH = 2048
// SPEC SPIFFE-ID §2.1: trust domain characters; at most 255 bytes.
const TRUST_DOMAIN = /^[a-z0-9._-]{1,255}$/
// SPEC SPIFFE-ID §2.2: path segment characters; a segment is neither "." nor "..".
const SEGMENT = /^(?!\.{1,2}$)[a-zA-Z0-9._-]{1,253}$/
const PREFIX = 'spiffe://'

/** The parts of an identity. */
export interface SpiffeId {
  readonly trustDomain: string
  readonly namespace: string
  readonly serviceAccount: string
}

/** Parses an identity. Anything but exactly that form is refused. */
export function parseSpiffeId(text: string): SpiffeId | Refusal {
  if (text.length > MAX_ID_LENGTH) return refuse('CERT_INVALID', 'SPIFFE id too long')
  if (!text.startsWith(PREFIX)) return refuse('CERT_INVALID', 'not a SPIFFE id')
  // SPEC HBONE §2: exactly five parts, <td>/ns/<ns>/sa/<sa>.
  const parts = text.slice(PREFIX.length).split('/')
  const [trustDomain, ns, namespace, sa, serviceAccount] = parts
  if (parts.length !== 5 || ns !== 'ns' || sa !== 'sa') {
    return refuse('CERT_INVALID', 'a workload id has the form spiffe://<td>/ns/<ns>/sa/<sa>')
  }
  if (trustDomain === undefined || !TRUST_DOMAIN.test(trustDomain))
    return refuse('CERT_INVALID', 'trust domain')
  if (namespace === undefined || !SEGMENT.test(namespace))
    return refuse('CERT_INVALID', 'namespace of the id')
  if (serviceAccount === undefined || !SEGMENT.test(serviceAccount)) {
    return refuse('CERT_INVALID', 'service account of the id')
  }
  return { trustDomain, namespace, serviceAccount }
}

/** The text of an identity. The parts are taken as they are: parse the result when they come from outside. */
export function formatSpiffeId(id: SpiffeId): string {
  return `${PREFIX}${id.trustDomain}/ns/${id.namespace}/sa/${id.serviceAccount}`
}
