// SPDX-License-Identifier: Apache-2.0
import { renameSync, writeFileSync } from 'node:fs'
import { createServer, type ServerOptions } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { KubernetesClient } from '../../../mesh/kubernetes/client.ts'
import { serviceAccountAccess } from '../../../mesh/kubernetes/service-account.ts'
import { systemClock } from '../../../mesh/runtime/clock.ts'
import { serverCertificate } from '../../support/server-certificate.ts'

t.test(
  'who asks shows the token of its file, and trusts the root of the other, as they are now',
  async (t) => {
    const [first, second] = [await serverCertificate(), await serverCertificate()]
    const heard: string[] = []
    const server = createServer(
      { cert: first.certificatePem, key: first.privateKeyPem },
      (request, answer) => {
        heard.push(request.headers.authorization ?? '')
        answer.end('{"kind":"Namespace"}')
      },
    )
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    t.teardown(() => server.close())
    const { port } = server.address() as AddressInfo // as: TCP
    const directory = t.testdir({ token: 'one\n', 'ca.crt': first.rootPem })
    const write = (name: string, text: string): void => {
      // As the kubelet does it: the file is another one from one moment to the next.
      writeFileSync(join(directory, `${name}.new`), text)
      renameSync(join(directory, `${name}.new`), join(directory, name))
    }
    const access = serviceAccountAccess({ host: '127.0.0.1', port }, directory)
    const client = new KubernetesClient(access, systemClock)
    const get = () => client.getJson('/api/v1/namespaces/x', {}, AbortSignal.timeout(5_000))
    t.same(await get(), { kind: 'Namespace' })
    write('token', 'two')
    await get()
    t.same(heard, ['Bearer one', 'Bearer two'])
    server.setSecureContext({
      cert: second.certificatePem,
      key: second.privateKeyPem,
    } satisfies ServerOptions)
    server.closeAllConnections()
    await t.rejects(get(), { code: /CERT|SIGNATURE|VERIFY/ }, 'a server of another root')
    write('ca.crt', second.rootPem)
    await get()
    t.equal(heard.length, 3)
    write('token', '')
    await t.rejects(get(), { code: 'CERT_UNAVAILABLE' }, 'no token, no request')
    t.equal(heard.length, 3)
  },
)

t.test('an IPv6 address is written as URLs want it', async (t) => {
  const directory = t.testdir({ token: 'x', 'ca.crt': '' })
  const access = serviceAccountAccess({ host: 'fd00::1', port: 443 }, directory)
  t.equal((await access.read()).server, 'https://[fd00::1]:443')
})
