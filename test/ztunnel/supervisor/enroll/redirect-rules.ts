// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { Expressions } from '../../../../mesh/reactor/netlink/nf-expressions.ts'
import { type RuleSet, redirectRules } from '../../../../ztunnel/supervisor/enroll/redirect-rules.ts'

function rulesOf(ruleSet: RuleSet, table: string, chain: string): readonly Expressions[] {
  return ruleSet.tables.find((it) => it.name === table)?.chains.find((it) => it.name === chain)?.rules ?? []
}
const redirectPort = (rule: Expressions | undefined): unknown =>
  rule?.at(-1)?.kind === 'redirect' ? rule.at(-2) : undefined

t.test('every rule counts, and only tcp is redirected', async (t) => {
  const all = redirectRules({ virtualInterfaces: ['vm0'] }).tables.flatMap((table) =>
    table.chains.flatMap((chain) => chain.rules),
  )
  t.ok(all.every((rule) => rule.some((it) => it.kind === 'counter')))
  for (const rule of all.filter((it) => redirectPort(it) !== undefined)) {
    const at = rule.findIndex((it) => it.kind === 'meta' && it.key === 'l4proto')
    t.match(rule[at + 1], { kind: 'compare', operator: 'eq', value: '06' })
  }
})

t.test('without IPv6 no rule, route or address of it is left', async (t) => {
  const ruleSet = redirectRules({ hasIpv6: false })
  t.same(
    ruleSet.markRules.map((it) => it.family),
    [4],
  )
  t.same(
    ruleSet.routes.map((it) => it.destination),
    ['0.0.0.0/0'],
  )
  t.notMatch(JSON.stringify(ruleSet.tables), '"value":"0a"')
})

t.test('a bypassed pod keeps its outbound rules only', async (t) => {
  const [normal, bypassed] = [redirectRules(), redirectRules({ isInboundBypassed: true })]
  t.same(rulesOf(bypassed, 'sidestep-nat', 'prerouting'), [])
  t.same(rulesOf(bypassed, 'sidestep-nat', 'output'), rulesOf(normal, 'sidestep-nat', 'output'))
})

t.test('traffic of a virtual interface is outbound and comes before everything else', async (t) => {
  const rules = rulesOf(redirectRules({ virtualInterfaces: ['vm0'] }), 'sidestep-nat', 'prerouting')
  t.match(rules[0]?.[0], { key: 'iifname' })
  t.match(redirectPort(rules[0]), { value: '3a99' })
  t.match(rules[1]?.at(-1), { verdict: 'return' })
  t.equal(rules.length, 6)
})
