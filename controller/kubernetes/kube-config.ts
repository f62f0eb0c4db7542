// SPDX-License-Identifier: Apache-2.0
// Address, certificates and token as kubectl finds them: files of people, programs that fetch tokens, the files of a pod.
import type { RequestOptions } from 'node:https'
import { KubeConfig } from '@kubernetes/client-node'
import type { AccessSource, ApiserverAccess } from '../../mesh/kubernetes/access.ts'

/** `load` reads the configuration, now and whenever the apiserver refuses it. @throws what `load` throws */
export function kubeConfigAccess(load: () => KubeConfig): AccessSource {
  let config = load()
  return {
    async read(): Promise<ApiserverAccess> {
      const cluster = config.getCurrentCluster()
      if (cluster === null) throw new Error('the configuration names no cluster')
      const options: RequestOptions = {}
      // The token may change: its file is read again once a minute.
      await config.applyToHTTPSOptions(options)
      return { server: cluster.server, options }
    },
    reload(): void {
      try {
        config = load()
      } catch {
        // The old one is tried again: its answer says what is wrong.
      }
    },
  }
}

/** The configuration in `file`; '': that of the pod, or of the KUBECONFIG that people use. */
export function loadKubeConfig(file: string): KubeConfig {
  const config = new KubeConfig()
  if (file === '') config.loadFromDefault()
  else config.loadFromFile(file)
  return config
}
