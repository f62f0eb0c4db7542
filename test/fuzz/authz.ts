// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { AuthzConnection } from '../../mesh/authz/connection.ts'
import { compilePolicies, evaluate } from '../../mesh/authz/evaluate.ts'
import { explain } from '../../mesh/authz/explain.ts'
import { MeshState } from '../../mesh/model/mesh-state.ts'
import type { Policy } from '../../mesh/model/policy.ts'
import { WORKLOAD_DEFAULTS } from '../../mesh/model/workload.ts'
import {
  MUTATIONS,
  type Mutation,
  type NaiveConnection,
  type NaiveDestination,
  naiveVerdict,
} from '../support/naive-authz.ts'
import { randomConnection, randomDestination, randomPolicies } from '../support/random-policies.ts'

const RUNS = 6000
const SEED = 20_260_101

/** The product's verdict, and the oracle's in the product's order of policies. */
function bothVerdicts(
  policies: Policy[],
  destination: NaiveDestination,
  plain: NaiveConnection,
  mutation: Mutation,
) {
  const state = new MeshState({ workloads: [], services: [], policies }, 1)
  const applying = state.policiesFor({ ...WORKLOAD_DEFAULTS, ...destination })
  const index = compilePolicies(applying)
  const { sourceIp, identity, destinationIp, destinationPort } = plain
  const connection = new AuthzConnection(sourceIp, identity, destinationIp, destinationPort)
  const { detail: _, ...verdict } = evaluate(index, connection)
  // Which of several matching policies is named depends on the order: give both the product's.
  const ordered = [...applying, ...policies.filter((policy) => !applying.includes(policy))]
  const oracle = naiveVerdict(ordered, destination, plain, mutation)
  return { verdict, oracle, applying, connection, index }
}

function isEqual(mutation: Mutation) {
  return (policies: Policy[], destination: NaiveDestination, plain: NaiveConnection): boolean => {
    const { verdict, oracle } = bothVerdicts(policies, destination, plain, mutation)
    return (
      verdict.allowed === oracle.allowed &&
      verdict.code === oracle.code &&
      verdict.policy === oracle.policy &&
      verdict.dryRunDeny === oracle.dryRunDeny &&
      verdict.dryRunAllow === oracle.dryRunAllow
    )
  }
}

const worlds = [randomPolicies, randomDestination, randomConnection] as const

t.test('indexed evaluation equals the specification read naively', async (t) => {
  const codes = new Map<string, number>()
  fc.assert(
    fc.property(...worlds, (policies, destination, plain) => {
      const { oracle } = bothVerdicts(policies, destination, plain, null)
      const key = `${oracle.code} ${oracle.policy !== null}`
      codes.set(key, (codes.get(key) ?? 0) + 1)
      return isEqual(null)(policies, destination, plain)
    }),
    { numRuns: RUNS, seed: SEED },
  )
  // A property that only ever sees one outcome proves nothing.
  for (const key of ['OK false', 'OK true', 'POLICY_DENY true', 'POLICY_NO_ALLOW false']) {
    t.ok((codes.get(key) ?? 0) > RUNS / 50, `${key}: ${codes.get(key)}`)
  }
})

t.test('every mutant of the specification is caught by the same property', async (t) => {
  for (const mutation of MUTATIONS) {
    const result = fc.check(fc.property(...worlds, isEqual(mutation)), {
      numRuns: RUNS,
      seed: SEED,
      endOnFailure: true,
    })
    t.ok(result.failed, `${mutation} after ${result.numRuns} runs`)
  }
})

t.test('an explanation never contradicts its verdict', async (t) => {
  fc.assert(
    fc.property(...worlds, (policies, destination, plain) => {
      const { applying, connection, index } = bothVerdicts(policies, destination, plain, null)
      const verdict = evaluate(index, connection)
      const { nearest, reason, fix } = explain(applying, connection, verdict)
      if (verdict.allowed) return fix === '' && nearest === null
      if (verdict.code === 'POLICY_DENY') return reason.includes(verdict.policy ?? '?')
      return fix !== '' && (nearest === null || nearest.differences.length > 0)
    }),
    { numRuns: 1000, seed: SEED },
  )
  t.pass('1000 explanations')
})
