// SPDX-License-Identifier: Apache-2.0
// The parts of a post that test/controller/ca/external.ts does not reach: TLS with a private CA, and time.
import { once } from 'node:events'
import { createServer } from 'node:https'
import t from 'tap'
import { postJson } from '../../../controller/ca/vault-http.ts'
import { serverCertificate } from '../../support/server-certificate.ts'
import { TestVault } from '../../support/vault.ts'

t.test('a Vault of a private CA is believed with its roots only', async (t) => {
  const { rootPem, certificatePem, privateKeyPem } = await serverCertificate()
  const server = createServer({ cert: certificatePem, key: privateKeyPem }, (request, response) => {
    request.resume()
    response.end('{"data":{"x":1}}')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const post = { url: new URL(`https://localhost:${port}/v1/x`), headers: {}, body: {}, timeoutMs: 5_000 }
  t.same(await postJson({ ...post, tlsRootsPem: rootPem }), { data: { x: 1 } })
  await t.rejects(postJson(post), { code: 'CERT_UNAVAILABLE', retryable: true })
})

t.test('a Vault that is silent is waited for no longer than allowed', async (t) => {
  const vault = await TestVault.start(Date.now())
  t.teardown(() => vault.close())
  vault.behaviour = { isSilent: true }
  const post = { url: new URL(`${vault.address}/v1/x`), headers: {}, body: {}, timeoutMs: 100 }
  await t.rejects(postJson(post), { code: 'CERT_UNAVAILABLE', retryable: true })
})
