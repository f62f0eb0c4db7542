// SPDX-License-Identifier: Apache-2.0
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf'
import t from 'tap'
import { decodePolicy, denyInstead } from '../../../mesh/discovery/decode-policy.ts'
import { EMPTY_MATCH } from '../../../mesh/model/policy.ts'
import { type Authorization, AuthorizationSchema } from '../../../proto/generated/istio/authorization_pb.js'

const wire = (fields: MessageInitShape<typeof AuthorizationSchema>): Authorization =>
  fromBinary(AuthorizationSchema, toBinary(AuthorizationSchema, create(AuthorizationSchema, fields)))
const withMatch = (
  match: NonNullable<Exclude<MessageInitShape<typeof AuthorizationSchema>['rules'], undefined>>,
) => wire({ name: 'p', namespace: 'shop', scope: 2, action: 1, rules: match })

t.test('every attribute arrives', async (t) => {
  const exact = { matchType: { case: 'exact', value: 'x' } } as const
  const presence = { matchType: { case: 'presence', value: {} } } as const
  const account = { namespace: 'shop', serviceAccount: 'cart' }
  const address = { address: Uint8Array.of(10, 1, 0, 0), length: 16 }
  const match = {
    ...{ namespaces: [exact], notNamespaces: [presence], principals: [exact], notPrincipals: [presence] },
    ...{
      sourceIps: [address],
      notSourceIps: [address],
      destinationIps: [address],
      notDestinationIps: [address],
    },
    ...{ destinationPorts: [80], notDestinationPorts: [443] },
    ...{ serviceAccounts: [account], notServiceAccounts: [account] },
  }
  t.same(decodePolicy(withMatch([{ clauses: [{ matches: [match, {}] }] }])), {
    ...{ name: 'p', namespace: 'shop', scope: 'WorkloadSelector', action: 'Deny', dryRun: false },
    rules: [
      [
        [
          {
            namespaces: [{ kind: 'exact', value: 'x' }],
            notNamespaces: [{ kind: 'presence' }],
            principals: [{ kind: 'exact', value: 'x' }],
            notPrincipals: [{ kind: 'presence' }],
            ...{ sourceIps: ['10.1.0.0/16'], notSourceIps: ['10.1.0.0/16'] },
            ...{ destinationIps: ['10.1.0.0/16'], notDestinationIps: ['10.1.0.0/16'] },
            ...{ destinationPorts: [80], notDestinationPorts: [443] },
            ...{ serviceAccounts: [account], notServiceAccounts: [account] },
          },
          EMPTY_MATCH,
        ],
      ],
    ],
  })
  t.match(decodePolicy(wire({ name: 'p', namespace: 'shop', dryRun: true })), {
    ...{ scope: 'Global', action: 'Allow', dryRun: true },
  })
})

t.test('what would be dropped elsewhere makes the policy unreadable', async (t) => {
  const bad = [
    wire({ namespace: 'shop' }),
    wire({ name: 'p', scope: 7 as never }),
    wire({ name: 'p', action: 7 as never }),
    withMatch([{ clauses: [{ matches: [{ principals: [{}] }] }] }]),
    withMatch([{ clauses: [{ matches: [{ sourceIps: [{ address: Uint8Array.of(1, 2), length: 8 }] }] }] }]),
    withMatch([
      { clauses: [{ matches: [{ sourceIps: [{ address: Uint8Array.of(1, 2, 3, 4), length: 64 }] }] }] },
    ]),
  ]
  for (const policy of bad) t.throws(() => decodePolicy(policy), { name: 'ResourceError' })
})

t.test('instead of an unreadable policy everything it may cover is denied', async (t) => {
  const denied = { action: 'Deny', rules: [[]], dryRun: false }
  t.same(denyInstead(wire({ name: 'p', namespace: 'shop', scope: 2 })), {
    ...{ name: 'p', namespace: 'shop', scope: 'WorkloadSelector' },
    ...denied,
  })
  t.match(denyInstead(wire({ name: 'p', namespace: 'shop', scope: 9 as never })), { scope: 'Namespace' })
})
