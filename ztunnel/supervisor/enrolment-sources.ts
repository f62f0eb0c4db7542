// SPDX-License-Identifier: Apache-2.0
// Who says which pods there are: a file, a CNI agent, or the apiserver with the CNI plugin of the node. As configured, and each
// loaded only where it is wanted: protobuf and TLS have their price in memory.
import { isRefusal } from '../../mesh/errors/refusal.ts'
import type { NodeHealth } from '../../mesh/generations/node-health.ts'
import { systemClock } from '../../mesh/runtime/clock.ts'
import type { Log } from '../../mesh/runtime/log.ts'
import { WatchedFile } from '../../mesh/runtime/watched-file.ts'
import type { ZtunnelConfig } from '../config.ts'
import type { CniAgent } from './enroll/cni/cni-agent.ts'
import type { EnrolledPods } from './enroll/enrolled-pods.ts'
import type { PodWatch } from './enroll/pod-watch.ts'
import type { StrictGuard } from './enroll/strict-guard.ts'
import type { ZdsClient } from './enroll/zds-client.ts'
import { parseEnrolment } from './enrolment-file.ts'
import { leaveNode } from './leave-node.ts'

/** start() … stop() or abandon(). */
export class EnrolmentSources {
  readonly #config: ZtunnelConfig
  readonly #pods: EnrolledPods
  readonly #guard: StrictGuard | null
  readonly #log: Log
  readonly #onHealth: () => void
  #file: WatchedFile | null = null
  #agent: ZdsClient | null = null
  /** Null where nobody asks the apiserver. */
  watch: PodWatch | null = null
  #cni: CniAgent | null = null

  /** `guard` is told where pods are; `onHealth` hears that health() is another one. */
  constructor(
    config: ZtunnelConfig,
    pods: EnrolledPods,
    guard: StrictGuard | null,
    log: Log,
    onHealth: () => void,
  ) {
    this.#config = config
    this.#pods = pods
    this.#guard = guard
    this.#log = log
    this.#onHealth = onHealth
  }

  async start(): Promise<void> {
    await this.#startFile()
    await this.#startAgent()
    await this.#startWatch()
  }

  /** Nobody follows: pods are told as out, so that nobody tunnels to them when they are. */
  async stop(): Promise<void> {
    this.#file?.close()
    this.#agent?.stop()
    await Promise.all([this.#cni?.stop(), this.watch?.stop()])
  }

  /** Another supervisor follows, and says what there is to say. */
  async abandon(): Promise<void> {
    this.#file?.close()
    this.#agent?.stop()
    this.#cni?.abandon()
    await this.watch?.abandon()
  }

  /** When no pod is enrolled and no data process runs any more: takes away what is left on the node. */
  close(): void {
    this.watch?.close()
    if (this.#cni?.isRemoved) leaveNode(this.#config, this.#log)
  }

  /** How it stands with them. */
  health(): Pick<NodeHealth, 'agent' | 'notEnrolled'> {
    const notEnrolled = this.watch?.notEnrolled() ?? null
    if (this.#agent === null) return { agent: null, notEnrolled }
    const { isSynced, failures } = this.#agent.status()
    return { agent: { isSynced, failures }, notEnrolled }
  }

  async #startFile(): Promise<void> {
    const { enrolmentFile } = this.#config
    if (enrolmentFile === '') return
    this.#file = new WatchedFile(enrolmentFile, systemClock, {
      onContent: (text) => this.#onEnrolment(text),
      onUnreadable: (cause) => this.#log.warn({ err: cause }, 'enrolment file cannot be read'),
    })
    await this.#file.start()
  }

  #onEnrolment(text: string): void {
    const pods = parseEnrolment(text, this.#config.enrolmentFile)
    if (!isRefusal(pods)) this.#pods.list(pods)
    else
      this.#log.error(
        { reason: pods.code, detail: pods.detail },
        'enrolment file refused, the last one stays',
      )
  }

  async #startAgent(): Promise<void> {
    const { zdsSocket: path } = this.#config
    if (path === '') return
    const { ZdsClient } = await import('./enroll/zds-client.ts')
    this.#agent = new ZdsClient({
      ...{ path, roster: this.#pods, clock: systemClock, random: Math.random, log: this.#log },
      onChange: this.#onHealth,
    })
    this.#agent.start()
    this.#onHealth()
  }

  async #startWatch(): Promise<void> {
    const { kubernetesEnrolment, apiserverHost: host, apiserverPort: port } = this.#config
    if (!kubernetesEnrolment) return
    const { serviceAccountDirectory, hostProcPath: procPath, nodeName } = this.#config
    const hostNetworkPath = this.#config.redirect ? this.#config.hostNetworkPath : ''
    // Loaded only where there is an apiserver: TLS has its price in memory.
    const { startPodWatch } = await import('./enroll/start-pod-watch.ts')
    const { sealedPlace } = await import('../../mesh/snapshot/sealed-place.ts')
    const { watch, client } = await startPodWatch({
      ...{ host, port, serviceAccountDirectory, nodeName, procPath, hostNetworkPath },
      ...{ roster: this.#pods, guard: this.#guard, clock: systemClock, log: this.#log },
      saved: sealedPlace(this.#config, 'pods'),
      onChange: this.#onHealth,
    })
    this.watch = watch
    if (this.#config.cniSpoolDirectory === '') return
    const { CniAgent } = await import('./enroll/cni/cni-agent.ts')
    this.#cni = new CniAgent({ config: this.#config, client, watch, clock: systemClock, log: this.#log })
    this.#cni.start()
  }
}
