// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { formatFinding } from '../../../mesh/model/finding.ts'
import { MATCHER_TAGS, readPolicy } from '../../../mesh/model/local-policy.ts'
import { EMPTY_MATCH, type Policy } from '../../../mesh/model/policy.ts'
import { YamlReader } from '../../../mesh/model/yaml-reader.ts'

function read(text: string): { readonly policy: Policy | undefined; readonly findings: readonly string[] } {
  const reader = new YamlReader(text, 'f', MATCHER_TAGS)
  const policy = reader.root === undefined ? undefined : readPolicy(reader, reader.root, 'p')
  return { policy, findings: reader.findings.map(formatFinding) }
}
const HEAD = 'name: n, namespace: shop, scope: Global, action: Deny, dryRun: false'
const withMatch = (match: string) => read(`{${HEAD}, rules: [[[{${match}}]]]}`)

t.test('a policy is read with all its lists', async (t) => {
  const { policy, findings } = read(
    '{name: n, namespace: shop, scope: WorkloadSelector, action: Allow, dryRun: true, rules: ' +
      '[[[{principals: [!Exact a]}, {}], []], []]}',
  )
  t.same(findings, [])
  t.same(policy, {
    ...{ name: 'n', namespace: 'shop', scope: 'WorkloadSelector', action: 'Allow', dryRun: true },
    rules: [[[{ ...EMPTY_MATCH, principals: [{ kind: 'exact', value: 'a' }] }, EMPTY_MATCH], []], []],
  })
})

t.test('each field of a match ends in its own list', async (t) => {
  for (const [field, text, value] of [
    ['namespaces', '!Exact "a b"', { kind: 'exact', value: 'a b' }],
    ['notNamespaces', '!Prefix x', { kind: 'prefix', value: 'x' }],
    ['principals', '!Suffix "/sa/x"', { kind: 'suffix', value: '/sa/x' }],
    ['notPrincipals', '!Presence []', { kind: 'presence' }],
    ['serviceAccounts', '{namespace: a, serviceAccount: b}', { namespace: 'a', serviceAccount: 'b' }],
    ['notServiceAccounts', '{namespace: a, serviceAccount: b}', { namespace: 'a', serviceAccount: 'b' }],
    ['sourceIps', '10.1.2.3/8', '10.0.0.0/8'],
    ['notSourceIps', '"::ffff:10.0.0.1"', '10.0.0.1/32'],
    ['destinationIps', '"FD00::/8"', 'fd00::/8'],
    ['notDestinationIps', '10.0.0.1', '10.0.0.1/32'],
    ['destinationPorts', '80', 80],
    ['notDestinationPorts', '65535', 65_535],
  ] as const) {
    const { policy, findings } = withMatch(`${field}: [${text}]`)
    t.same(findings, [], field)
    t.same(policy?.rules[0]?.[0]?.[0], { ...EMPTY_MATCH, [field]: [value] })
  }
})

t.test('a matcher that cannot be read is a finding, never a missing constraint', async (t) => {
  for (const [match, message] of [
    ['principals: [!Exact ""]', 'expected !Exact "x"'],
    ['principals: [a]', 'did you mean "!Exact \\"a\\""?'],
    ['principals: [5]', 'did you mean "!Exact \\"5\\""?'],
    ['principals: [!Exact [a]]', 'Unresolved tag: !Exact'],
    ['principals: [~]', 'expected !Exact'],
    ['namespaces: [!Exact a], principals: ~', 'p.rules[0][0][0].principals: expected a value'],
    ['namespaces: [!Exact a], principals: ', 'p.rules[0][0][0].principals: expected a value'],
    ['namespaces: [!Exact a], principals', 'p.rules[0][0][0].principals: expected a value'],
    ['principals: [!Presence [a]]', 'expected !Exact'],
    ['principals: [!Presence a]', 'f:1:'],
    ['principals: [!Regex a]', '!Regex'],
    ['principals: a', 'p.rules[0][0][0].principals: expected a list'],
    ['principal: [!Exact a]', 'principal: unknown field; did you mean "principals"?'],
    ['sourceIps: [10.0.0.0/33]', 'no IP prefix: "10.0.0.0/33"'],
    ['sourceIps: [cart.shop]', 'no IP prefix: "cart.shop"'],
    ['destinationPorts: [65536]', 'expected a whole number from 0 to 65535, found 65536'],
    ['destinationPorts: ["80"]', 'found text "80"'],
    ['serviceAccounts: [b]', 'expected a map, found text "b"'],
    ['serviceAccounts: [{serviceAccount: b}]', 'namespace: required field is missing'],
  ] as const) {
    const { findings } = withMatch(match)
    t.ok(
      findings.some((line) => line.includes(message)),
      `${match}: ${findings.join(' | ')}`,
    )
  }
})

t.test('a policy needs all it says of itself, in the words there are', async (t) => {
  for (const [text, message] of [
    ['{}', 'p.name: required field is missing'],
    ['{}', 'p.dryRun: required field is missing'],
    [`{${HEAD}}`, 'p.rules: required field is missing'],
    [`{${HEAD.replace('Deny', 'Audit')}, rules: []}`, 'expected one of Allow, Deny, found "Audit"'],
    [`{${HEAD.replace('Global', 'global')}, rules: []}`, 'did you mean "Global"?'],
    [`{${HEAD.replace('false', 'no')}, rules: []}`, 'expected true or false, found text "no"'],
    [`{${HEAD.replace('name: n,', 'name: a/b,')}, rules: []}`, 'a name has no slash'],
    [`{${HEAD}, rules: [{}]}`, 'p.rules[0]: expected a list, found a map'],
    ['[]', 'p: expected a map, found a list'],
  ] as const) {
    const { findings } = read(text)
    t.ok(
      findings.some((line) => line.includes(message)),
      `${text}: ${findings.join(' | ')}`,
    )
  }
})
