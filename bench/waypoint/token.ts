// SPDX-License-Identifier: Apache-2.0
// A token for the load, and the keys it is verified with.
import { exportJWK, generateKeyPair, SignJWT } from 'jose'

export const ISSUER = 'https://issuer.bench'
const KEY_ID = 'bench'

/** A token of an hour, and the key set of its issuer as JSON. */
export async function makeToken(): Promise<{ readonly token: string; readonly jwks: string }> {
  const { privateKey, publicKey } = await generateKeyPair('RS256')
  const token = await new SignJWT({})
    .setProtectedHeader({ alg: 'RS256', kid: KEY_ID })
    .setIssuer(ISSUER)
    .setSubject('client')
    .setExpirationTime('1h')
    .sign(privateKey)
  const key = { ...(await exportJWK(publicKey)), kid: KEY_ID, alg: 'RS256', use: 'sig' }
  return { token, jwks: JSON.stringify({ keys: [key] }) }
}
