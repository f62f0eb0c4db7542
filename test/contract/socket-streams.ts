// SPDX-License-Identifier: Apache-2.0
// The byte-stream contract applied to what a reactor has: TCP and TLS sockets, pairs without a socket.
import t from 'tap'
import { testByteStreamContract } from '../support/byte-stream-contract.ts'
import { TestAuthority } from '../support/certificates.ts'
import { createDirectPairUnderTest, createTcpPair, prepareTlsPairs } from '../support/reactor-pairs.ts'

testByteStreamContract(t, 'TCP', createTcpPair)
testByteStreamContract(t, 'direct', createDirectPairUnderTest)
testByteStreamContract(t, 'TLS', await prepareTlsPairs(await TestAuthority.create()))
