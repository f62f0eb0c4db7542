// SPDX-License-Identifier: Apache-2.0
// What Kubernetes gives every pod: the apiserver's address in the environment, a token and the apiserver's root in files that
// the kubelet renews. Read without @kubernetes/client-node, which costs a node 20 MB.
import { readFileSync, statSync } from 'node:fs'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { readTokenFile } from '../runtime/token-file.ts'
import type { AccessSource } from './access.ts'

/** Where the apiserver is. */
export interface ApiserverAddress {
  /** KUBERNETES_SERVICE_HOST */
  readonly host: string
  /** KUBERNETES_SERVICE_PORT */
  readonly port: number
}

/** The service account of this pod; nothing is read yet. */
export function serviceAccountAccess({ host, port }: ApiserverAddress, directory: string): AccessSource {
  const server = `https://${isIP(host) === 6 ? `[${host}]` : host}:${port}`
  const rootFile = join(directory, 'ca.crt')
  let stamp = ''
  let root = ''
  return {
    async read() {
      // Both are replaced in place: a token lives an hour, a root until the cluster gets another one.
      const { ino, size, mtimeMs } = statSync(rootFile)
      const now = `${ino} ${size} ${mtimeMs}`
      if (now !== stamp) root = readFileSync(rootFile, 'latin1')
      stamp = now
      const token = await readTokenFile(join(directory, 'token'))
      return { server, options: { ca: root, headers: { Authorization: `Bearer ${token}` } } }
    },
    reload() {
      stamp = ''
    },
  }
}
