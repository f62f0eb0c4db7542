// SPDX-License-Identifier: Apache-2.0
// A real etcd and kube-apiserver for one test file: the lab's control plane under a prefix of its own, or any cluster that
// KUBECONFIG names (its custom resources must be there, and nothing of it is stopped).
import { execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { KubeConfig } from '@kubernetes/client-node'
import { kubeConfigAccess } from '../../controller/kubernetes/kube-config.ts'
import { KubernetesClient } from '../../mesh/kubernetes/client.ts'
import { systemClock } from '../../mesh/runtime/clock.ts'

const LAB = fileURLToPath(new URL('../cluster/lab/kubelab', import.meta.url))
/** The lab’s kubectl; any will do. */
export const KUBECTL = `${process.env.KUBELAB_CACHE ?? `${process.env.HOME}/.cache/kubelab`}/bin/kubectl`
const BUILD_IMAGE = fileURLToPath(new URL('../../image/build.ts', import.meta.url))
const SLOTS = 40
const POLL_MS = 20
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024
const run = promisify(execFile)

/** Longest life of a test file with a cluster. */
export const CLUSTER_TEST_MS = 300_000

/** A part of the control plane that a test may stop. */
export type Component = 'etcd' | 'kube-apiserver' | 'kube-controller-manager'

/** What is started. */
export interface ClusterOptions {
  /** Without any nothing runs pods. */
  readonly nodes?: readonly string[]
  /** With the kinds of Istio and of the Gateway API: the default. */
  readonly kinds?: boolean
}

export class Cluster {
  readonly kubeconfig: string
  readonly #environment: Readonly<Record<string, string>> | null
  #count = 0
  #isOpen = true
  #claim: Server | null = null

  private constructor(kubeconfig: string, environment: Readonly<Record<string, string>> | null) {
    this.kubeconfig = kubeconfig
    this.#environment = environment
  }

  /**
   * About ten seconds, twice that with nodes; close() ends it.
   * @throws when the lab's programs are not built or nobody is root
   */
  static async open({ nodes = [], kinds = true }: ClusterOptions = {}): Promise<Cluster> {
    const given = process.env.KUBECONFIG
    if (given !== undefined && given !== '') return new Cluster(given, null)
    const directory = await mkdtemp(join(tmpdir(), 'sidestep-cluster-'))
    const NODES = nodes.length === 0 ? 'node1' : nodes.join(' ')
    const slot = await claimSlot()
    const environment = { ...slot.environment, KUBELAB_RUN: directory, NODES }
    const cluster = new Cluster(join(directory, 'pki', 'admin.kubeconfig'), environment)
    cluster.#claim = slot.claim
    process.on(
      'exit',
      () => cluster.#isOpen && spawnSync(LAB, ['down'], { env: { ...process.env, ...environment } }),
    )
    try {
      await cluster.#lab('up', ...(nodes.length === 0 ? ['control-plane'] : []))
      if (kinds) await cluster.installKinds()
    } catch (err) {
      await cluster.close()
      throw err
    }
    return cluster
  }

  /** The custom resources of Istio and of the Gateway API; a cluster that was given has its own. */
  async installKinds(): Promise<void> {
    if (this.#environment !== null) await this.#lab('crds')
  }

  /** A config that reads the file anew. */
  load(file = this.kubeconfig): KubeConfig {
    const config = new KubeConfig()
    config.loadFromFile(file)
    return config
  }

  /** The config of somebody who shows `token` and nothing else. */
  loadWithToken(token: string): KubeConfig {
    const config = this.load()
    const cluster = config.getCurrentCluster()
    if (cluster === null) throw new Error('the kubeconfig names no cluster')
    config.loadFromClusterAndUser(cluster, { name: 'token', token })
    return config
  }

  /** A client of the cluster's admin. */
  admin(): KubernetesClient {
    return new KubernetesClient(
      kubeConfigAccess(() => this.load()),
      systemClock,
    )
  }

  async kubectl(...args: readonly string[]): Promise<string> {
    const { stdout } = await run(KUBECTL, ['--kubeconfig', this.kubeconfig, ...args], {
      maxBuffer: MAX_OUTPUT_BYTES,
    })
    return stdout
  }

  /** Applies objects as a person would, of `yaml` or JSON text. */
  async apply(text: string): Promise<void> {
    const child = spawn(KUBECTL, ['--kubeconfig', this.kubeconfig, 'apply', '--server-side', '-f', '-'], {
      stdio: ['pipe', 'ignore', 'pipe'],
    })
    let said = ''
    child.stderr.on('data', (chunk: Buffer) => {
      said += chunk.toString()
    })
    child.stdin.end(text)
    const [code] = (await once(child, 'close')) as [number | null] // as: the event's arguments
    if (code !== 0) throw new Error(`kubectl apply: ${said}`)
  }

  /** A namespace nobody else uses. */
  async createNamespace(prefix = 'test', labels: Readonly<Record<string, string>> = {}): Promise<string> {
    this.#count++
    const name = `${prefix}-${process.pid}-${this.#count}`
    const body = { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } }
    await this.admin().create('/api/v1/namespaces', body, AbortSignal.timeout(10_000))
    return name
  }

  /** Path of the network of a node, or of `fab`, the bridge between them. Only of the lab. */
  networkOf(name: string): string {
    return `/run/netns/${this.#own().KUBELAB_PFX}-${name}`
  }

  /** A file of a node, as this machine reaches it. Only of the lab. */
  pathOn(node: string, path: string): string {
    const pid = readFileSync(join(this.#own().KUBELAB_RUN ?? '', node, 'init.pid'), 'utf8').trim()
    return `/proc/${pid}/root${path}`
  }

  /** Where `/etc/cni` and `/opt/cni` of a node are kept. Only of the lab. */
  cniDirectoriesOf(node: string): readonly string[] {
    const directory = join(this.#own().KUBELAB_RUN ?? '', node)
    return [join(directory, 'etc-cni', 'net.d'), join(directory, 'opt-cni', 'bin')]
  }

  /** Where a node keeps the logs of its pods. Only of the lab. */
  logsOf(node: string): string {
    return join(this.#own().KUBELAB_RUN ?? '', node, 'log', 'pods')
  }

  /** Pods that are written there run on the node without an apiserver. Only of the lab. */
  manifestsOf(node: string): string {
    return join(this.#own().KUBELAB_RUN ?? '', node, 'manifests')
  }

  /** Stops a part of the control plane where it is, or lets it go on; done when it stands still. Only of the lab. */
  async signal(component: Component, signal: 'SIGSTOP' | 'SIGCONT'): Promise<void> {
    const pid = await this.#pidOf(component)
    process.kill(pid, signal)
    // A thread that runs on another processor may answer a last request.
    const tasks = `/proc/${pid}/task`
    while (signal === 'SIGSTOP' && !readdirSync(tasks).every((task) => stateOf(`${tasks}/${task}`) === 'T'))
      await wait(POLL_MS)
  }

  /** Ends a part as a crash would, and waits until it is gone. Only of the lab. */
  async kill(component: Component): Promise<void> {
    const pid = await this.#pidOf(component)
    process.kill(pid, 'SIGKILL')
    while (existsSync(`/proc/${pid}`)) await wait(POLL_MS)
  }

  /** Starts a part that was ended. Only of the lab. */
  async start(component: Component): Promise<void> {
    await this.#lab('start', component)
  }

  /** A loss of power: done when the node's programs start again. Not of the one with the control plane. Only of the lab. */
  async reboot(node: string): Promise<void> {
    await this.#lab('reboot', node)
  }

  /** Makes etcd and the apiserver forget what was: a watch from before gets 410. Only of the lab. */
  async forget(): Promise<void> {
    await this.#lab('compact')
    await this.kill('kube-apiserver')
    await this.start('kube-apiserver')
  }

  /** Brings an OCI archive to every node: of another cluster by the program that CLUSTER_LOAD_IMAGE names. */
  async loadImage(archive: string): Promise<void> {
    if (this.#environment !== null) return await this.#lab('load', archive)
    const load = process.env.CLUSTER_LOAD_IMAGE
    if (load === undefined)
      throw new Error('CLUSTER_LOAD_IMAGE names no program: nodes cannot be given the image')
    await run(load, [archive], { maxBuffer: MAX_OUTPUT_BYTES })
  }

  /** Builds the image of this checkout, and brings it to every node. */
  async loadSidestep(): Promise<void> {
    const directory = await mkdtemp(join(tmpdir(), 'sidestep-image-'))
    const archive = join(directory, 'sidestep.tar')
    try {
      await run(process.execPath, ['--no-warnings', BUILD_IMAGE, '--archive', archive])
      await this.loadImage(archive)
    } finally {
      await rm(directory, { recursive: true })
    }
  }

  async close(): Promise<void> {
    if (this.#environment === null) return
    await this.#lab('down')
    this.#isOpen = false
    this.#claim?.close()
    await rm(this.#environment.KUBELAB_RUN ?? '', { recursive: true, force: true })
  }

  async #pidOf(component: Component): Promise<number> {
    return Number(await readFile(join(this.#own().KUBELAB_RUN ?? '', 'cp', `${component}.pid`), 'utf8'))
  }

  #own(): Readonly<Record<string, string>> {
    if (this.#environment === null) throw new Error('KUBECONFIG names the cluster: it is not ours to stop')
    return this.#environment
  }

  async #lab(...args: readonly string[]): Promise<void> {
    await run(LAB, [...args], { env: { ...process.env, ...this.#own() }, maxBuffer: MAX_OUTPUT_BYTES })
  }
}

/** `R`, `S`, `T` …: what a thread does now. SPEC proc_pid_stat(5) */
function stateOf(task: string): string {
  const text = readFileSync(`${task}/stat`, 'latin1')
  return text.charAt(text.lastIndexOf(')') + 2)
}

/** Names and networks that no other lab of this machine uses; an abstract socket holds them as long as its process lives. */
async function claimSlot(): Promise<{ environment: Readonly<Record<string, string>>; claim: Server }> {
  for (let at = 0; at < SLOTS; at++) {
    const slot = (process.pid + at) % SLOTS
    const prefix = `ct${slot}`
    if (existsSync(`/run/netns/${prefix}-fab`)) continue
    const claim = createServer().listen(`\0sidestep-lab-${prefix}`).unref()
    if (!(await once(claim, 'listening').catch(() => null))) continue
    const environment = {
      KUBELAB_PFX: prefix,
      KUBELAB_NET: `172.31.${200 + slot}`,
      KUBELAB_SVC: `10.${100 + slot}`,
      KUBELAB_PODS: `10.${150 + slot}`,
    }
    return { environment, claim }
  }
  throw new Error(`${SLOTS} labs are up already`)
}
