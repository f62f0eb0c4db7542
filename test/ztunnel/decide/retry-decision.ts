// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { REASONS, type ReasonCode } from '../../../mesh/errors/reasons.ts'
import { isOfTheEndpoint } from '../../../ztunnel/decide/retry-decision.ts'

t.test('what another endpoint would answer as well is not tried again', async (t) => {
  const table: ReadonlyArray<readonly [ReasonCode, boolean]> = [
    ['ENDPOINT_REFUSED', true],
    ['HBONE_PORT_REFUSED', true],
    ['HBONE_PORT_BLOCKED', true],
    ['IDENTITY_MISMATCH', true],
    ['DRAIN', true],
    ['POLICY_DENY', false],
    ['POLICY_NO_ALLOW', false],
    ['POLICY_NEEDS_L7', false],
    ['PLAINTEXT_REFUSED', false],
    ['NO_ENDPOINT', false],
    ['NO_SUCH_PORT', false],
    ['CERT_UNAVAILABLE', false],
    ['MISSING_CAPABILITY', false],
    ['OUT_OF_DESCRIPTORS', false],
    ['LOOP', false],
    ['OK', false],
  ]
  for (const [code, isRetried] of table) t.equal(isOfTheEndpoint(code), isRetried, code)
})

t.test('no refusal by a policy is ever tried elsewhere', async (t) => {
  // as: the keys of the table
  for (const code of Object.keys(REASONS) as ReasonCode[])
    if (REASONS[code].responseFlag === 'DENY') t.equal(isOfTheEndpoint(code), false, code)
})
