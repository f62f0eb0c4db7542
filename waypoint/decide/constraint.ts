// SPDX-License-Identifier: Apache-2.0
// One constraint of an authorization policy, compiled. What is missing or empty satisfies no value, so that it satisfies every
// negation, as Istio has it. Pure; linear in what is compared.
import { ipToBytes } from '../../mesh/net/address.ts'
import { CidrSet, parseCidr } from '../../mesh/net/cidr.ts'
import {
  RequestConstraint_Attribute as Attribute,
  RequestValue_Match as Match,
  type RequestConstraint,
  type RequestValue,
} from '../../proto/generated/sidestep/v1/request_policies_pb.js'
import { type CallFacts, claimTexts, type RequestCall } from './call-facts.ts'
import { compilePathTemplate } from './path-template.ts'

/** Asks a call. */
export type CallTest = (call: CallFacts) => boolean
type TextTest = (text: string) => boolean

/** null: it cannot be understood. */
export function compileConstraint({
  attribute,
  path,
  values,
  isNegated,
}: RequestConstraint): CallTest | null {
  const test = compileAttribute(attribute, path, values)
  if (test === null || values.length === 0) return null
  return isNegated ? (call) => !test(call) : test
}

/** True for what only a request has. */
export function needsRequest({ attribute }: RequestConstraint): boolean {
  return attribute >= Attribute.HOST
}

function compileAttribute(
  attribute: Attribute,
  path: readonly string[],
  values: readonly RequestValue[],
): CallTest | null {
  switch (attribute) {
    case Attribute.SOURCE_IP:
      return ofAddress(values, (call) => call.sourceIp)
    case Attribute.REMOTE_IP:
      return ofAddress(values, (call) => call.request?.remoteIp ?? call.sourceIp)
    case Attribute.DESTINATION_IP:
      return ofAddress(values, (call) => call.destinationIp)
    default: {
      const test = compileTexts(values, attribute === Attribute.PATH)
      return test === null ? null : ofText(attribute, path, test)
    }
  }
}

function ofText(attribute: Attribute, path: readonly string[], test: TextTest): CallTest | null {
  const ofRequest =
    (read: (request: RequestCall) => string | undefined): CallTest =>
    ({ request }) =>
      request !== null && test(read(request) ?? '')
  switch (attribute) {
    case Attribute.SOURCE_PRINCIPAL:
      return ({ principal }) => test(principal)
    case Attribute.SOURCE_NAMESPACE:
      return ({ namespace }) => test(namespace)
    case Attribute.SOURCE_SERVICE_ACCOUNT:
      return ({ serviceAccount }) => test(serviceAccount)
    case Attribute.DESTINATION_PORT:
      return ({ destinationPort }) => test(String(destinationPort))
    case Attribute.CONNECTION_SNI:
      return ({ serverName }) => test(serverName)
    case Attribute.HOST:
      return ({ request }) => request !== null && (test(request.facts.host) || test(request.facts.authority))
    case Attribute.METHOD:
      return ofRequest(({ facts }) => facts.method)
    case Attribute.PATH:
      return ofRequest(({ facts }) => facts.path)
    case Attribute.HEADER: {
      const [name = ''] = path
      // The host field of HTTP/1.1 is :authority here.
      if (name === 'host') return ofRequest(({ facts }) => facts.authority)
      return ofRequest(({ facts }) => facts.header(name))
    }
    case Attribute.REQUEST_PRINCIPAL:
      return ofRequest(({ token }) => token?.principal)
    case Attribute.REQUEST_AUDIENCE:
      return ({ request }) => request?.token?.audiences.some(test) ?? false
    case Attribute.REQUEST_PRESENTER:
      return ofRequest(({ token }) => token?.presenter)
    case Attribute.REQUEST_CLAIM:
      return ({ request }) => {
        const token = request?.token ?? null
        return token !== null && claimTexts(token, path).some(test)
      }
    default:
      return null
  }
}

function ofAddress(values: readonly RequestValue[], read: (call: CallFacts) => string): CallTest | null {
  const ranges = values.map(({ match, text }) => (match === Match.RANGE ? parseCidr(text) : undefined))
  const known = ranges.filter((each) => each !== undefined)
  if (known.length < values.length) return null
  const set = new CidrSet(known)
  return (call) => {
    const bytes = ipToBytes(read(call))
    return bytes !== undefined && set.contains(bytes)
  }
}

/** One look for all exact values, then one for each other. */
function compileTexts(values: readonly RequestValue[], isPath: boolean): TextTest | null {
  const exact = new Set<string>()
  const others: TextTest[] = []
  for (const { match, text: written } of values) {
    const text = isPath ? asCanonical(written) : written
    if (match === Match.EXACT) exact.add(text)
    else if (match === Match.PREFIX) others.push((value) => value.startsWith(text))
    else if (match === Match.SUFFIX) others.push((value) => value.endsWith(text))
    else if (match === Match.PRESENT) others.push(() => true)
    else if (match === Match.TEMPLATE && isPath) others.push(compilePathTemplate(text))
    else return null
  }
  if (others.length === 0) return (value) => value !== '' && exact.has(value)
  return (value) => value !== '' && (exact.has(value) || others.some((test) => test(value)))
}

/** Escapes as canonical-path.ts spells them, or a policy with `%2f` would never match. */
function asCanonical(path: string): string {
  return path.replace(/%[0-9A-Fa-f]{2}/g, (triplet) => {
    const char = String.fromCharCode(Number.parseInt(triplet.slice(1), 16))
    return /[A-Za-z0-9\-._~]/.test(char) ? char : triplet.toUpperCase()
  })
}
