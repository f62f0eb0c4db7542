// SPDX-License-Identifier: Apache-2.0
// The demo's cluster: namespaces, services, controller, ztunnels and files, built together and torn down together, also
// when only half of it came up.
import { closeSync, openSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { VirtualNetwork } from '../mesh/reactor/netlink/virtual-network.ts'
import { ControllerProcess } from './controller-process.ts'
import { explainRefusal, isPolicyRefusal, type RefusalExplanation } from './explanation.ts'
import { manifests, POLICY_FILE } from './manifests.ts'
import { NodeProcess, nodeFiles } from './node-process.ts'
import { type DemoPlan, type DemoPod, enrolmentFile, identityOf } from './plan.ts'
import { PodProcess } from './pod-process.ts'
import { type DemoRecord, RecordTail } from './records.ts'
import type { CallAnswer } from './service.ts'

/** The controller's node; it has no pods. */
const CONTROL_NODE = 'control'

/** Owns everything it started. */
export class DemoCluster {
  readonly plan: DemoPlan
  /** Private to its user; gone after close(). */
  readonly directory: string
  /** Null in loopback mode. */
  readonly network: VirtualNetwork | null
  readonly controller: ControllerProcess
  readonly nodes: NodeProcess[] = []
  readonly records: DemoRecord[] = []
  /** Hears of every record. */
  onRecord: (record: DemoRecord) => void = () => {}
  readonly #pods = new Map<DemoPod['name'], PodProcess>()
  readonly #tails: RecordTail[] = []
  #closing: Promise<void> | null = null

  private constructor(plan: DemoPlan, directory: string, network: VirtualNetwork | null) {
    this.plan = plan
    this.directory = directory
    this.network = network
    const control = network?.node(CONTROL_NODE)
    const ip = control?.ip ?? plan.controllerIp
    this.controller = new ControllerProcess(directory, control?.namespace ?? null, ip)
  }

  /** Builds all of it; when this resolves every pod is served. `signal` gives up. */
  static async start(plan: DemoPlan, signal: AbortSignal): Promise<DemoCluster> {
    // mkdtemp makes it 0700: keys and tokens are in it.
    const directory = await mkdtemp(join(tmpdir(), 'sidestep-demo-'))
    let cluster: DemoCluster | null = null
    try {
      cluster = new DemoCluster(plan, directory, plan.mode === 'netns' ? buildNetwork(plan) : null)
      await cluster.#start(signal)
      return cluster
    } catch (error) {
      if (cluster !== null) await cluster.close()
      else await rm(directory, { recursive: true, force: true })
      throw error
    }
  }

  /** Calls from inside a pod. */
  async call(from: DemoPod['name'], ip: string, port: number, path: string, body = ''): Promise<CallAnswer> {
    const pod = this.#pods.get(from)
    if (pod === undefined) throw new Error(`the demo has no pod ${from}`)
    return await pod.call(ip, port, path, body)
  }

  /** The file with the policy, which may be changed while everything runs. */
  get policyFile(): string {
    return join(this.controller.configDirectory, POLICY_FILE)
  }

  /** Why a policy refused the call of this record; null when none did. */
  async explain(record: DemoRecord): Promise<RefusalExplanation | null> {
    if (!isPolicyRefusal(record)) return null
    const node = this.nodes.find(({ place }) => place.name === record.node)
    return explainRefusal((await node?.configuration()) ?? null, record)
  }

  /** @throws Error when a ztunnel has ended. The controller may: its absence hurts nobody. */
  assertRunning(): void {
    for (const node of this.nodes) {
      if (node.hasEnded) throw new Error(`the ztunnel of ${node.place.name} has ended\n${node.logEnd()}`)
    }
  }

  /** The live form shows records and keeps none. */
  forgetRecords(): void {
    this.records.length = 0
  }

  /** Ends the processes, gives up the namespaces, removes the files. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #start(signal: AbortSignal): Promise<void> {
    const { plan, controller } = this
    await controller.configure(manifests(plan))
    // Nothing of it needs the other; whichever fails, both must be over before anything is torn down.
    const started = await Promise.allSettled([controller.start(signal), this.#startPods(signal)])
    for (const each of started) if (each.status === 'rejected') throw each.reason
    for (const name of plan.nodes) {
      signal.throwIfAborted()
      await this.#startNode(name)
    }
    for (const node of this.nodes) {
      signal.throwIfAborted()
      await node.ready(signal)
    }
    signal.throwIfAborted()
  }

  async #startPods(signal: AbortSignal): Promise<void> {
    const { plan, directory, network } = this
    const logFd = openSync(join(directory, 'services.log'), 'a', 0o600)
    try {
      for (const pod of plan.pods) {
        signal.throwIfAborted()
        this.#pods.set(pod.name, await PodProcess.start(pod, network?.pod(pod.name).namespace ?? null, logFd))
      }
    } finally {
      closeSync(logFd)
    }
  }

  async #startNode(name: DemoPod['node']): Promise<void> {
    const { plan, directory, network, controller } = this
    const files = nodeFiles({ name, directory })
    const netnsOf = (pod: DemoPod): string => network?.pod(pod.name).namespace.path ?? ''
    await writeFile(files.enrolment, enrolmentFile(plan, name, netnsOf))
    const identities = plan.pods
      .filter(({ node, isEnrolled }) => node === name && isEnrolled)
      .map((pod) => identityOf(pod.name))
    await writeFile(files.token, await controller.joinToken(name, identities), { mode: 0o600 })
    const namespace = network?.node(name).namespace ?? null
    const { address: controllerAddress, rootsFile } = controller
    const podCount = identities.length
    this.nodes.push(new NodeProcess({ name, namespace, directory, podCount, controllerAddress, rootsFile }))
    const tail = new RecordTail(name, files.records, (record) => {
      this.records.push(record)
      this.onRecord(record)
    })
    this.#tails.push(tail)
    tail.start()
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#pods.values()].map((pod) => pod.close()))
    await Promise.all(this.nodes.map((node) => node.close()))
    await this.controller.close()
    await Promise.all(this.#tails.map((tail) => tail.close()))
    this.network?.close()
    await rm(this.directory, { recursive: true, force: true })
  }
}

function buildNetwork(plan: DemoPlan): VirtualNetwork {
  return VirtualNetwork.create({
    nodes: [
      ...plan.nodes.map((name) => ({
        name,
        pods: plan.pods.filter(({ node }) => node === name).map((pod) => ({ name: pod.name, ip: pod.ip })),
      })),
      { name: CONTROL_NODE },
    ],
  })
}
