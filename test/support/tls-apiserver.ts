// SPDX-License-Identifier: Apache-2.0
// A FakeApiserver as a pod meets it: over TLS, with the files of a service account, here on the loopback of a lab's node.
import { writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { createServer } from 'node:tls'
import type { NetworkNamespace } from '../../mesh/reactor/netns.ts'
import type { FakeApiserver } from './fake-apiserver.ts'
import { listenIn } from './lab.ts'
import { serverCertificate } from './server-certificate.ts'

const PORT = 6443

/** Options of a node that enrols by this apiserver, and what ends it. `directory` gets token and root. */
export async function serveTls(
  apiserver: FakeApiserver,
  namespace: NetworkNamespace,
  directory: string,
): Promise<{ readonly options: Readonly<Record<string, string>>; readonly close: () => void }> {
  const { rootPem, certificatePem: cert, privateKeyPem: key } = await serverCertificate()
  writeFileSync(join(directory, 'token'), 'token', { mode: 0o600 })
  writeFileSync(join(directory, 'ca.crt'), rootPem)
  const { port, hostname } = new URL(apiserver.kubeConfig().getCurrentCluster()?.server ?? '')
  const server = createServer({ cert, key }, (from) => {
    const to = connect(Number(port), hostname)
    from.on('error', () => to.destroy()).on('close', () => to.destroy())
    to.on('error', () => from.destroy()).on('close', () => from.destroy())
    from.pipe(to)
    to.pipe(from)
  })
  server.listen({ fd: listenIn(namespace, PORT) })
  return {
    options: {
      SIDESTEP_ENROLMENT_FILE: '',
      SIDESTEP_KUBERNETES_ENROLMENT: 'true',
      KUBERNETES_SERVICE_HOST: '127.0.0.1',
      KUBERNETES_SERVICE_PORT: String(PORT),
      SIDESTEP_SERVICE_ACCOUNT_DIRECTORY: directory,
      SIDESTEP_HOST_NETWORK_PATH: '/proc/self/ns/net', // a node is a namespace here
    },
    close: () => server.close(),
  }
}
