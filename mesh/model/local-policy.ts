// SPDX-License-Identifier: Apache-2.0
// The `policies` part of the configuration file (SPEC XDS §6.2). A matcher that cannot be read is a finding, never
// dropped: dropping one turns a restrictive list into "no constraint".
import { type CollectionTag, isScalar, isSeq, type Node, type ScalarTag } from 'yaml'
import { parseCidr } from '../net/cidr.ts'
import type { Match, Policy, Rule, ServiceAccountMatch, StringMatch } from './policy.ts'
import { quote, type YamlReader } from './yaml-reader.ts'

const POLICY_FIELDS = ['name', 'namespace', 'scope', 'action', 'rules', 'dryRun'] as const
const MATCH_FIELDS = [
  ...(['namespaces', 'notNamespaces', 'serviceAccounts', 'notServiceAccounts', 'principals'] as const),
  ...(['notPrincipals', 'sourceIps', 'notSourceIps', 'destinationIps', 'notDestinationIps'] as const),
  ...(['destinationPorts', 'notDestinationPorts'] as const),
] as const
const TAGS = ['!Exact', '!Prefix', '!Suffix', '!Presence'] as const
const MAX_PORT = 65_535

/** The tags of string matchers, for the YAML parser. */
export const MATCHER_TAGS: readonly (ScalarTag | CollectionTag)[] = [
  ...(['!Exact', '!Prefix', '!Suffix'] as const).map((tag) => ({ tag, resolve: (text: string) => text })),
  { tag: '!Presence', collection: 'seq' as const },
]

/** Reads one policy. */
export function readPolicy(reader: YamlReader, node: Node, path: string): Policy | undefined {
  const fields = reader.fields(node, path, POLICY_FIELDS, POLICY_FIELDS)
  if (fields === undefined) return undefined
  const name = reader.text(fields, 'name')
  if (name.includes('/'))
    reader.fail(fields.get('name') ?? node, fields.pathOf('name'), 'a name has no slash')
  return {
    name,
    namespace: reader.text(fields, 'namespace'),
    scope: reader.oneOf(fields, 'scope', ['Global', 'Namespace', 'WorkloadSelector'] as const, 'Namespace'),
    action: reader.oneOf(fields, 'action', ['Allow', 'Deny'] as const, 'Deny'),
    rules: reader.list(fields, 'rules', (rule, rulePath) => readRule(reader, rule, rulePath)),
    dryRun: reader.flag(fields, 'dryRun'),
  }
}

function readRule(reader: YamlReader, node: Node, path: string): Rule {
  return reader.items(node, path, (clause, clausePath) =>
    reader.items(clause, clausePath, (match, matchPath) => readMatch(reader, match, matchPath)),
  )
}

function readMatch(reader: YamlReader, node: Node, path: string): Match | undefined {
  // A list without a value would mean "no constraint", which nobody writes that way.
  const fields = reader.fields(node, path, MATCH_FIELDS, [], true)
  if (fields === undefined) return undefined
  const strings = (key: string): StringMatch[] =>
    reader.list(fields, key, (item, at) => readStringMatch(reader, item, at))
  const accounts = (key: string): ServiceAccountMatch[] =>
    reader.list(fields, key, (item, at) => readServiceAccount(reader, item, at))
  const cidrs = (key: string): string[] => reader.list(fields, key, (item, at) => readCidr(reader, item, at))
  const ports = (key: string): number[] =>
    reader.list(fields, key, (item, at) => reader.readInteger(item, at, 0, MAX_PORT))
  return {
    namespaces: strings('namespaces'),
    notNamespaces: strings('notNamespaces'),
    serviceAccounts: accounts('serviceAccounts'),
    notServiceAccounts: accounts('notServiceAccounts'),
    principals: strings('principals'),
    notPrincipals: strings('notPrincipals'),
    sourceIps: cidrs('sourceIps'),
    notSourceIps: cidrs('notSourceIps'),
    destinationIps: cidrs('destinationIps'),
    notDestinationIps: cidrs('notDestinationIps'),
    destinationPorts: ports('destinationPorts'),
    notDestinationPorts: ports('notDestinationPorts'),
  }
}

function readStringMatch(reader: YamlReader, raw: Node, path: string): StringMatch | undefined {
  const tagged = reader.tagged(raw, path)
  if (tagged === undefined) return undefined
  const { tag, node } = tagged
  if (tag === '!Presence' && isSeq(node) && node.items.length === 0) return { kind: 'presence' }
  if (isScalar(node) && typeof node.value === 'string' && node.value !== '') {
    if (tag === '!Exact') return { kind: 'exact', value: node.value }
    if (tag === '!Prefix') return { kind: 'prefix', value: node.value }
    if (tag === '!Suffix') return { kind: 'suffix', value: node.value }
  }
  const suggestion =
    isScalar(node) && !TAGS.some((known) => known === tag) ? `!Exact ${quote(String(node.value))}` : ''
  reader.fail(raw, path, 'expected !Exact "x", !Prefix "x", !Suffix "x" or !Presence []', suggestion)
  return undefined
}

function readServiceAccount(reader: YamlReader, node: Node, path: string): ServiceAccountMatch | undefined {
  const keys = ['namespace', 'serviceAccount']
  const fields = reader.fields(node, path, keys, keys)
  if (fields === undefined) return undefined
  return {
    namespace: reader.text(fields, 'namespace'),
    serviceAccount: reader.text(fields, 'serviceAccount'),
  }
}

function readCidr(reader: YamlReader, node: Node, path: string): string | undefined {
  const text = reader.readText(node, path)
  if (text === undefined) return undefined
  const cidr = parseCidr(text)
  if (cidr === undefined) reader.fail(node, path, `no IP prefix: ${quote(text)}`)
  return cidr?.text
}
