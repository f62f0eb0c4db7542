// SPDX-License-Identifier: Apache-2.0
// What of an AuthorizationPolicy a ztunnel can see, and what only a waypoint can. SPEC HBONE §9.4.

/** Which part of Match a field fills. */
export type Attribute =
  | 'namespaces'
  | 'principals'
  | 'serviceAccounts'
  | 'sourceIps'
  | 'destinationIps'
  | 'destinationPorts'

/** A field that is known: of layer 4 with what it becomes, or of layer 7. */
export type FieldMeaning =
  | { readonly layer: 4; readonly attribute: Attribute; readonly isNegative: boolean }
  | { readonly layer: 7 }

const L7: FieldMeaning = { layer: 7 }
const is = (attribute: Attribute): FieldMeaning => ({ layer: 4, attribute, isNegative: false })
const isNot = (attribute: Attribute): FieldMeaning => ({ layer: 4, attribute, isNegative: true })

/** Fields of `from[].source`. */
export const SOURCE_FIELDS: ReadonlyMap<string, FieldMeaning> = new Map([
  ['principals', is('principals')],
  ['notPrincipals', isNot('principals')],
  ['namespaces', is('namespaces')],
  ['notNamespaces', isNot('namespaces')],
  ['serviceAccounts', is('serviceAccounts')],
  ['notServiceAccounts', isNot('serviceAccounts')],
  ['ipBlocks', is('sourceIps')],
  ['notIpBlocks', isNot('sourceIps')],
  ['requestPrincipals', L7],
  ['notRequestPrincipals', L7],
  ['remoteIpBlocks', L7],
  ['notRemoteIpBlocks', L7],
])

/** Fields of `to[].operation`. */
export const OPERATION_FIELDS: ReadonlyMap<string, FieldMeaning> = new Map([
  ['ports', is('destinationPorts')],
  ['notPorts', isNot('destinationPorts')],
  ['hosts', L7],
  ['notHosts', L7],
  ['methods', L7],
  ['notMethods', L7],
  ['paths', L7],
  ['notPaths', L7],
])

const WHEN_KEYS: ReadonlyMap<string, Attribute> = new Map([
  ['source.ip', 'sourceIps'],
  ['source.namespace', 'namespaces'],
  ['source.principal', 'principals'],
  ['destination.ip', 'destinationIps'],
  ['destination.port', 'destinationPorts'],
])
const L7_KEYS = [
  'remote.ip',
  'request.auth.principal',
  'request.auth.audiences',
  'request.auth.presenter',
  'connection.sni',
]
const L7_KEY = /^(?:request\.headers|request\.auth\.claims|experimental\.)/

/** Every key of `when[]` that can be written without an argument, for suggestions. */
export const PLAIN_WHEN_KEYS: readonly string[] = [...WHEN_KEYS.keys(), ...L7_KEYS]

/** The meaning of a key of `when[]`; undefined: Istio has no such key. */
export function whenKeyOf(key: string): Attribute | 'l7' | undefined {
  const attribute = WHEN_KEYS.get(key)
  if (attribute !== undefined) return attribute
  return L7_KEYS.includes(key) || L7_KEY.test(key) ? 'l7' : undefined
}
