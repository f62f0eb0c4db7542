// SPDX-License-Identifier: Apache-2.0
// The demo's cluster: namespaces, services, ztunnels and files, built together and torn down together, also when
// only half of it came up.
import { closeSync, openSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { VirtualNetwork } from '../mesh/reactor/netlink/virtual-network.ts'
import { NodeProcess, nodeFiles } from './node-process.ts'
import { type DemoPlan, type DemoPod, enrolmentFile, meshFile } from './plan.ts'
import { PodProcess } from './pod-process.ts'
import { type DemoRecord, RecordTail } from './records.ts'
import type { CallAnswer } from './service.ts'

/** Owns everything it started. */
export class DemoCluster {
  readonly plan: DemoPlan
  /** Private to its user; gone after close(). */
  readonly directory: string
  /** Null in loopback mode. */
  readonly network: VirtualNetwork | null
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
  }

  /** Builds all of it; when this resolves every pod is served. `signal` gives up. */
  static async start(plan: DemoPlan, signal: AbortSignal): Promise<DemoCluster> {
    // mkdtemp makes it 0700: the CA's key is in it.
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

  /** @throws Error when a process that should run has ended */
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
    const { plan, directory, network } = this
    await writeFile(join(directory, 'mesh.yaml'), meshFile(plan))
    const logFd = openSync(join(directory, 'services.log'), 'a', 0o600)
    try {
      for (const pod of plan.pods) {
        signal.throwIfAborted()
        this.#pods.set(pod.name, await PodProcess.start(pod, network?.pod(pod.name).namespace ?? null, logFd))
      }
    } finally {
      closeSync(logFd)
    }
    for (const name of plan.nodes) await this.#startNode(name)
    for (const node of this.nodes) {
      signal.throwIfAborted()
      await node.ready()
    }
    signal.throwIfAborted()
  }

  async #startNode(name: DemoPod['node']): Promise<void> {
    const { plan, directory, network } = this
    const files = nodeFiles({ name, directory })
    const netnsOf = (pod: DemoPod): string => network?.pod(pod.name).namespace.path ?? ''
    await writeFile(files.enrolment, enrolmentFile(plan, name, netnsOf))
    const podCount = plan.pods.filter(({ node, isEnrolled }) => node === name && isEnrolled).length
    const namespace = network?.node(name).namespace ?? null
    this.nodes.push(new NodeProcess({ name, namespace, directory, podCount }))
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
    await Promise.all(this.#tails.map((tail) => tail.close()))
    this.network?.close()
    await rm(this.directory, { recursive: true, force: true })
  }
}

function buildNetwork(plan: DemoPlan): VirtualNetwork {
  return VirtualNetwork.create({
    nodes: plan.nodes.map((name) => ({
      name,
      pods: plan.pods.filter(({ node }) => node === name).map((pod) => ({ name: pod.name, ip: pod.ip })),
    })),
  })
}
