// SPDX-License-Identifier: Apache-2.0
// The load's token is one that its own keys verify.
import { createLocalJWKSet, jwtVerify } from 'jose'
import t from 'tap'
import { ISSUER, makeToken } from '../../../bench/waypoint/token.ts'

t.test('the keys verify the token', async (t) => {
  const { token, jwks } = await makeToken()
  const { payload } = await jwtVerify(token, createLocalJWKSet(JSON.parse(jwks)), { issuer: ISSUER })
  t.equal(payload.sub, 'client')
  const other = await makeToken()
  await t.rejects(jwtVerify(token, createLocalJWKSet(JSON.parse(other.jwks))))
})
