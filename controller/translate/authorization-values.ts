// SPDX-License-Identifier: Apache-2.0
// The values in the lists of an AuthorizationPolicy, each read into what a ztunnel compares. Nothing is ever emitted that
// a receiver would drop: a StringMatch has a value, an address has its length (SPEC XDS §1.7, trap of SPEC HBONE §4.4).
import type { MessageInitShape } from '@bufbuild/protobuf'
import { parsePort } from '../../mesh/net/address.ts'
import { parseCidr } from '../../mesh/net/cidr.ts'
import type { StringMatchSchema } from '../../proto/generated/istio/authorization_pb.js'
import type { Fields } from './fields.ts'
import type { Attribute } from './l7-detection.ts'
import { quote } from './notes.ts'

type StringInit = MessageInitShape<typeof StringMatchSchema>

interface AccountInit {
  readonly namespace: string
  readonly serviceAccount: string
}

interface BlockInit {
  readonly address: Uint8Array
  readonly length: number
}

/** A match in the making: the lists that were written. */
export interface MatchInit {
  namespaces?: StringInit[]
  notNamespaces?: StringInit[]
  principals?: StringInit[]
  notPrincipals?: StringInit[]
  serviceAccounts?: AccountInit[]
  notServiceAccounts?: AccountInit[]
  sourceIps?: BlockInit[]
  notSourceIps?: BlockInit[]
  destinationIps?: BlockInit[]
  notDestinationIps?: BlockInit[]
  destinationPorts?: number[]
  notDestinationPorts?: number[]
}

/** A list of one attribute as parts of a match. `isBroken`: some of it could not be read, and was noted. */
export interface ReadList {
  readonly match: MatchInit
  readonly isBroken: boolean
}

/** Reads `key` of a map as the positive or negative list of an attribute. */
export function readValues(
  fields: Fields,
  key: string,
  attribute: Attribute,
  isNegative: boolean,
  home: string,
): ReadList {
  const before = fields.notes.errors
  const texts = fields.texts(key)
  if (fields.list(key).length === 0 && Array.isArray(fields.raw(key))) {
    // An empty list could mean "nothing" or "anything": nobody may have to guess.
    fields.notes.add(
      'INVALID_VALUE',
      fields.pathOf(key),
      'the list is empty',
      'list values, or remove the field',
    )
  }
  const readEach = <T>(read: (text: string) => T | undefined, wanted: string): T[] =>
    texts.flatMap(({ text, path }) => {
      const value = read(text)
      if (value !== undefined) return [value]
      fields.notes.add('INVALID_VALUE', path, `${quote(text)} is not ${wanted}`, `write ${wanted}`)
      return []
    })
  const match = toMatch(attribute, isNegative, readEach, home)
  if (attribute === 'principals') noteScheme(fields, texts)
  return { match, isBroken: fields.notes.errors > before }
}

type ReadEach = <T>(read: (text: string) => T | undefined, wanted: string) => T[]

function toMatch(attribute: Attribute, isNegative: boolean, readEach: ReadEach, home: string): MatchInit {
  switch (attribute) {
    case 'namespaces': {
      const list = readEach(readString, 'a namespace, or one with * at its end')
      return isNegative ? { notNamespaces: list } : { namespaces: list }
    }
    case 'principals': {
      const list = readEach(readString, 'a principal, or one with * at its end')
      return isNegative ? { notPrincipals: list } : { principals: list }
    }
    case 'serviceAccounts': {
      const list = readEach((text) => readAccount(text, home), 'a service account: name or namespace/name')
      return isNegative ? { notServiceAccounts: list } : { serviceAccounts: list }
    }
    case 'sourceIps': {
      const list = readEach(readBlock, 'an address or a range')
      return isNegative ? { notSourceIps: list } : { sourceIps: list }
    }
    case 'destinationIps': {
      const list = readEach(readBlock, 'an address or a range')
      return isNegative ? { notDestinationIps: list } : { destinationIps: list }
    }
    case 'destinationPorts': {
      const list = readEach(parsePort, 'a port from 1 to 65535')
      return isNegative ? { notDestinationPorts: list } : { destinationPorts: list }
    }
  }
}

// SPEC HBONE §9.4: "*" is presence, a * in front a suffix, a * behind a prefix.
function readString(text: string): StringInit | undefined {
  if (text === '') return undefined
  if (text === '*') return { matchType: { case: 'presence', value: {} } }
  if (text.startsWith('*')) return { matchType: { case: 'suffix', value: text.slice(1) } }
  if (text.endsWith('*')) return { matchType: { case: 'prefix', value: text.slice(0, -1) } }
  return { matchType: { case: 'exact', value: text } }
}

function readAccount(text: string, home: string): AccountInit | undefined {
  const parts = text.split('/', 3)
  const [namespace, serviceAccount] = parts.length === 1 ? [home, parts[0]] : parts
  // SPEC ISTIO API: service accounts are exact; a * would be compared as a character.
  if (parts.length > 2 || text.includes('*') || !namespace || !serviceAccount) return undefined
  return { namespace, serviceAccount }
}

function readBlock(text: string): BlockInit | undefined {
  const cidr = parseCidr(text)
  return cidr === undefined ? undefined : { address: cidr.bytes, length: cidr.prefixLength }
}

function noteScheme(
  fields: Fields,
  texts: readonly { readonly text: string; readonly path: string }[],
): void {
  for (const { text, path } of texts) {
    if (!text.startsWith('spiffe://')) continue
    const message = `${quote(text)} is compared with an identity without spiffe://`
    fields.notes.add(
      'POLICY_PRINCIPAL_SCHEME',
      path,
      message,
      'write cluster.local/ns/<namespace>/sa/<account>',
    )
  }
}
