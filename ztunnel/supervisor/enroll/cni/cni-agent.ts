// SPDX-License-Identifier: Apache-2.0
// All that stands behind the CNI plugin of a node: its installation, and the spool in which it asks.
import { join } from 'node:path'
import type { KubernetesClient } from '../../../../mesh/kubernetes/client.ts'
import { isRemoved } from '../../../../mesh/kubernetes/is-removed.ts'
import type { Clock } from '../../../../mesh/runtime/clock.ts'
import type { Log } from '../../../../mesh/runtime/log.ts'
import type { ZtunnelConfig } from '../../../config.ts'
import type { PodWatch } from '../pod-watch.ts'
import { CniInstallation } from './cni-installation.ts'
import { CniSpool } from './cni-spool.ts'
import { PLUGIN_NAME } from './conflist.ts'

/** daemonset.yaml names it so, and so does the right to read it. */
const DAEMON_SET = 'ztunnel'
/** The account and its rights are removed with it. What would stay on a node by mistake is harmless, and its next ztunnel's. */
const REMOVED_WITH_IT = [401, 403]

/** What it needs. */
export interface CniAgentOptions {
  readonly config: ZtunnelConfig
  readonly client: Pick<KubernetesClient, 'getJson'>
  readonly watch: Pick<PodWatch, 'admit' | 'onLate'>
  readonly clock: Clock
  readonly log: Log
}

/** start() … stop(). */
export class CniAgent {
  readonly #options: CniAgentOptions
  readonly #spool: CniSpool
  readonly #installation: CniInstallation
  #isRemoved = false

  constructor(options: CniAgentOptions) {
    this.#options = options
    const { config, watch, clock, log } = options
    const spool = config.cniSpoolDirectory
    this.#spool = new CniSpool({
      ...{ directory: spool, clock, log },
      admit: async (request, signal) => await watch.admit(request, signal),
      onLate: (request) => watch.onLate(request),
    })
    this.#installation = new CniInstallation({
      binDirectory: config.cniBinDirectory,
      confDirectory: config.cniConfDirectory,
      hostRoot: join(config.hostProcPath, '1/root'),
      entry: {
        ...{ type: PLUGIN_NAME, spool, timeoutMs: config.cniTimeoutMs },
        ...{ onTimeout: config.cniOnTimeout, alwaysStart: alwaysStart(config) },
        bootSeconds: config.cniBootSeconds,
      },
      ...{ clock, log },
    })
  }

  start(): void {
    this.#spool.start()
    // After it: who is asked listens already.
    if (this.#isInstalling) this.#installation.start()
  }

  /** Answers nobody any more; the plugin goes only when no ztunnel comes after this one. */
  async stop(): Promise<void> {
    this.#spool.stop()
    this.#installation.stop()
    if (!this.#isInstalling) return
    const owner = {
      kind: 'daemonsets',
      namespace: this.#options.config.podNamespace,
      name: DAEMON_SET,
    } as const
    this.#isRemoved = await isRemoved(this.#options.client, owner, REMOVED_WITH_IT)
    if (this.#isRemoved) this.#installation.remove()
  }

  /** After stop(): no ztunnel comes after this one. */
  get isRemoved(): boolean {
    return this.#isRemoved
  }

  /** Another supervisor answers from now on. */
  abandon(): void {
    this.#spool.stop()
    this.#installation.stop()
  }

  get #isInstalling(): boolean {
    const { cniBinDirectory, cniConfDirectory } = this.#options.config
    return cniBinDirectory !== '' || cniConfDirectory !== ''
  }
}

/** Our own namespace too: otherwise a ztunnel would wait for itself. */
function alwaysStart({ cniAlwaysStart, podNamespace }: ZtunnelConfig): string {
  const names = [...cniAlwaysStart.split(','), podNamespace]
  return [...new Set(names)].filter((name) => name !== '').join()
}
