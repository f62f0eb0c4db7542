// SPDX-License-Identifier: Apache-2.0
// The byte-stream contract applied to real TCP and TLS sockets.
import t from 'tap'
import { testByteStreamContract } from '../support/byte-stream-contract.ts'
import { TestAuthority } from '../support/certificates.ts'
import { createTcpPair, prepareTlsPairs } from '../support/reactor-pairs.ts'

testByteStreamContract(t, 'TCP', createTcpPair)
testByteStreamContract(t, 'TLS', await prepareTlsPairs(await TestAuthority.create()))
