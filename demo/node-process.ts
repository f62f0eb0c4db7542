// SPDX-License-Identifier: Apache-2.0
// One node's ztunnel: its supervisor as a process in the node's namespace. It knows where the controller is and has a
// token to join with; everything else it learns there.
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { MeshConfig } from '../mesh/model/mesh-state.ts'
import type { NetworkNamespace } from '../mesh/reactor/netns.ts'
import type { ZtunnelConfig } from '../ztunnel/config.ts'
import { type AdminAnswer, OwnProcess } from './own-process.ts'
import { type DemoPod, TRUST_DOMAIN } from './plan.ts'

const SUPERVISOR = fileURLToPath(new URL('../ztunnel/supervisor/main.ts', import.meta.url))
const DRAIN_SECONDS = 1

/** Where a node's ztunnel runs. */
export interface NodePlace {
  readonly name: DemoPod['node']
  /** Null: this machine's. */
  readonly namespace: NetworkNamespace | null
  /** The demo's directory, with this node's files. */
  readonly directory: string
  /** Pods the enrolment file lists. */
  readonly podCount: number
  readonly controllerAddress: string
  /** PEM of the mesh's roots. */
  readonly rootsFile: string
}

/** The files of a node. */
export function nodeFiles({ name, directory }: Pick<NodePlace, 'name' | 'directory'>): {
  readonly enrolment: string
  /** The join token: gone once it was used. */
  readonly token: string
  /** What the node keeps: the key and certificate it got for its token. */
  readonly state: string
  readonly records: string
  readonly log: string
  readonly admin: string
} {
  const file = (ending: string): string => join(directory, `${name}.${ending}`)
  return {
    enrolment: file('enrolment.yaml'),
    token: file('token'),
    state: file('state'),
    records: file('records'),
    log: file('log'),
    admin: file('sock'),
  }
}

/** Owns the supervisor and what it started. */
export class NodeProcess {
  readonly place: NodePlace
  readonly #process: OwnProcess

  /** Starts the supervisor; call ready(). */
  constructor(place: NodePlace) {
    this.place = place
    const files = nodeFiles(place)
    const config: Partial<ZtunnelConfig> = {
      nodeName: place.name,
      enrolmentFile: files.enrolment,
      controllerAddresses: place.controllerAddress,
      controllerRoots: place.rootsFile,
      controllerToken: files.token,
      stateDirectory: files.state,
      trustDomain: TRUST_DOMAIN,
      adminSocket: files.admin,
      records: files.records,
      workerCount: 2,
      // Without namespaces there are no rules that could take a spoofed source back.
      originalSource: place.namespace !== null,
      ipv6: place.namespace !== null,
      drainSeconds: DRAIN_SECONDS,
    }
    const { name, namespace } = place
    this.#process = new OwnProcess({
      ...{ name, script: SUPERVISOR, config, namespace },
      ...{ logFile: files.log, adminSocket: files.admin },
    })
  }

  get pid(): number {
    return this.#process.pid
  }

  get hasEnded(): boolean {
    return this.#process.hasEnded
  }

  /** Waits until every pod is served; `signal` gives up. @throws Error with the end of the log */
  async ready(signal: AbortSignal): Promise<void> {
    await this.#process.ready(signal, async () => {
      const { pods } = JSON.parse((await this.admin('/config_dump')).text) as { pods: readonly unknown[] } // as: our API
      const { podCount } = this.place
      return pods.length === podCount ? '' : `${pods.length} of ${podCount} pods enrolled`
    })
    // It has the node's certificate now; the token buys nothing any more.
    await rm(nodeFiles(this.place).token, { force: true })
  }

  /** What the node goes by; null when it does not answer. */
  async configuration(): Promise<MeshConfig | null> {
    const dump = await this.admin('/config_dump').catch(() => null)
    return dump?.status === 200 ? (JSON.parse(dump.text) as MeshConfig) : null // as: our API
  }

  /** What the ztunnel answers under a path of its admin API. */
  async admin(path: string): Promise<AdminAnswer> {
    return await this.#process.admin(path)
  }

  /** The last lines of the ztunnel's log. */
  logEnd(): string {
    return this.#process.logEnd()
  }

  /** Drains and ends; the data process ends by itself when its supervisor is gone. Idempotent. */
  async close(): Promise<void> {
    await this.#process.close()
  }
}
