// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { ReasonCode } from '../../../mesh/errors/reasons.ts'
import { type RequestFlag, requestFlag } from '../../../mesh/errors/request-flags.ts'

t.test('what went wrong with a request has the name that Envoy gives it', async (t) => {
  const expected: Partial<Record<ReasonCode, RequestFlag>> = {
    OK: '-',
    NO_ENDPOINT: 'UH',
    ENDPOINT_REFUSED: 'UF',
    CONNECT_TIMEOUT: 'UF',
    IDENTITY_MISMATCH: 'UF',
    CERT_EXPIRED: 'UF',
    UPSTREAM_OVERFLOW: 'UO',
    PEER_RESET: 'UC',
    STREAM_RESET: 'UR',
    UPSTREAM_PROTOCOL: 'UPE',
    REQUEST_TIMEOUT: 'UT',
    ROUTE_NOT_FOUND: 'NR',
    ROUTE_BROKEN: 'NC',
    FAULT_INJECTED: 'FI',
    POLICY_DENY: 'RBAC',
    JWT_INVALID: 'RBAC',
    HTTP1_AMBIGUOUS: 'DPE',
    PATH_AMBIGUOUS: 'DPE',
    INTERNAL: '-',
  }
  for (const [code, flag] of Object.entries(expected)) t.equal(requestFlag(code as ReasonCode), flag, code) // as: the keys above
})
