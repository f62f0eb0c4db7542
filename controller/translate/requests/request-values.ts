// SPDX-License-Identifier: Apache-2.0
// Values in the lists of an AuthorizationPolicy, as a waypoint compares them. SPEC ISTIO-API security/v1.
import { parsePort } from '../../../mesh/net/address.ts'
import { parseCidr } from '../../../mesh/net/cidr.ts'
import {
  RequestConstraint_Attribute as Attribute,
  RequestValue_Match as Match,
} from '../../../proto/generated/sidestep/v1/request_policies_pb.js'
import type { Fields } from '../fields.ts'
import { quote } from '../notes.ts'

/** One value; the wire's RequestValue. */
export interface ReadValue {
  readonly match: Match
  readonly text: string
}

/** A list of one attribute. `isBroken`: some of it could not be read, and was noted. */
export interface ReadValues {
  readonly values: readonly ReadValue[]
  readonly isBroken: boolean
}

/** Reads `key` of a map as alternatives of an attribute; `home` is the namespace of the policy. */
export function readRequestValues(
  fields: Fields,
  key: string,
  attribute: Attribute,
  home: string,
): ReadValues {
  const { notes } = fields
  const before = notes.errors
  const texts = fields.texts(key)
  // An empty list could mean "nothing" or "anything": nobody may have to guess.
  if (Array.isArray(fields.raw(key)) && fields.list(key).length === 0)
    notes.add('INVALID_VALUE', fields.pathOf(key), 'the list is empty', 'list values, or remove the field')
  const values = texts.flatMap(({ text, path }) => {
    const value = readValue(text, attribute, home)
    if (typeof value !== 'string') return [value]
    notes.add('INVALID_VALUE', path, `${quote(text)} is not ${value}`, `write ${value}`)
    return []
  })
  return { values, isBroken: notes.errors > before }
}

/** The value, or what it should have been. */
function readValue(text: string, attribute: Attribute, home: string): ReadValue | string {
  switch (attribute) {
    case Attribute.SOURCE_IP:
    case Attribute.REMOTE_IP:
    case Attribute.DESTINATION_IP: {
      const cidr = parseCidr(text)
      return cidr === undefined ? 'an address or a range' : { match: Match.RANGE, text: cidr.text }
    }
    case Attribute.DESTINATION_PORT: {
      const port = parsePort(text)
      return port === undefined ? 'a port from 1 to 65535' : exactly(String(port))
    }
    case Attribute.SOURCE_SERVICE_ACCOUNT:
      return readAccount(text, home)
    case Attribute.PATH:
      return /[{}]/.test(text) ? readTemplate(text) : readText(text)
    case Attribute.HOST:
      return readText(text.toLowerCase())
    default:
      return readText(text)
  }
}

const exactly = (text: string): ReadValue => ({ match: Match.EXACT, text })

/** SPEC HBONE §9.4: "*" is presence, a * in front a suffix, a * behind a prefix. */
function readText(text: string): ReadValue | string {
  if (text === '') return 'a text, or one with * at one end'
  if (text === '*') return { match: Match.PRESENT, text: '' }
  if (text.startsWith('*')) return { match: Match.SUFFIX, text: text.slice(1) }
  if (text.endsWith('*')) return { match: Match.PREFIX, text: text.slice(0, -1) }
  return exactly(text)
}

function readAccount(text: string, home: string): ReadValue | string {
  const parts = text.split('/', 3)
  const [namespace, account] = parts.length === 1 ? [home, parts[0]] : parts
  return parts.length > 2 || text.includes('*') || !namespace || !account
    ? 'a service account: name or namespace/name'
    : exactly(`${namespace}/${account}`)
}

/** SPEC ISTIO-API Operation.paths: operators are whole segments, one `{**}` at most and no `{*}` behind it. */
function readTemplate(text: string): ReadValue | string {
  const wanted = 'a path whose segments are texts, {*}, or at last {**}'
  if (!text.startsWith('/')) return wanted
  let isOpen = true
  for (const segment of text.split('/')) {
    if (segment === '{*}' || segment === '{**}') {
      if (!isOpen) return wanted
      if (segment === '{**}') isOpen = false
    } else if (/[{}*]/.test(segment)) return wanted
  }
  return { match: Match.TEMPLATE, text }
}
