// SPDX-License-Identifier: Apache-2.0
// The contract of an exchange, applied to both versions of HTTP.
import t from 'tap'
import { testHttpStreamContract } from '../support/http-stream-contract.ts'
import { HTTP_VERSIONS } from '../support/http-wire.ts'

for (const version of HTTP_VERSIONS) testHttpStreamContract(t, version)
