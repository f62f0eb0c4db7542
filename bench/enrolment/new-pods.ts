// SPDX-License-Identifier: Apache-2.0
// What the start of a pod takes on a real node: before the mesh is there, and with its CNI plugin, in and out of the mesh. The
// kubelet, containerd and the apiserver are the lab's; see test/cluster/lab.
import { readFile } from 'node:fs/promises'
import { setTimeout as wait } from 'node:timers/promises'
import { isMap, mapOf, own, textOf } from '../../mesh/kubernetes/raw-map.ts'
import { Cluster } from '../../test/support/cluster.ts'

const SYSTEM = 'istio-system'
const [PLAIN, MEMBERS] = ['plain', 'members'] as const
const NODES = ['node1', 'node2']
/** Of the two the one that has no control plane beside the pods. */
const NODE = 'node2'
const LOOK_MS = 10
const START_MS = 60_000
/** The first pods of a node are about its caches. */
const WARM_UP = 2

/** Times in ms from the creation of a pod until its container runs, as the apiserver tells it. */
export interface NewPods {
  readonly withoutMesh: readonly number[]
  readonly outOfMesh: readonly number[]
  readonly inMesh: readonly number[]
  /** From the plugin's question until the agent's answer, of the pods in the mesh; in ms. */
  readonly waited: readonly number[]
}

/** Starts `count` pods of each kind, one after the other. @throws when the lab is not built, or a pod does not start in a minute */
export async function measureNewPods(count: number): Promise<NewPods> {
  const cluster = await Cluster.open({ nodes: NODES })
  try {
    for (const namespace of [PLAIN, MEMBERS]) await cluster.kubectl('create', 'namespace', namespace)
    for (let each = 0; each < WARM_UP; each++) await startPod(cluster, PLAIN, `warm-${each}`)
    const withoutMesh: number[] = []
    for (let each = 0; each < count; each++)
      withoutMesh.push(await startPod(cluster, PLAIN, `without-${each}`))
    await installMesh(cluster)
    await startPod(cluster, MEMBERS, 'warm')
    const [outOfMesh, inMesh]: [number[], number[]] = [[], []]
    for (let each = 0; each < count; each++) {
      outOfMesh.push(await startPod(cluster, PLAIN, `out-${each}`))
      inMesh.push(await startPod(cluster, MEMBERS, `in-${each}`))
    }
    return { withoutMesh, outOfMesh, inMesh, waited: await waitsOf(cluster, /^in-\d+$/) }
  } finally {
    await cluster.close()
  }
}

async function installMesh(cluster: Cluster): Promise<void> {
  await cluster.loadSidestep()
  await cluster.apply(await readFile(new URL('../../daemonset.yaml', import.meta.url), 'utf8'))
  for (const part of ['deployment/sidestep-controller', 'daemonset/ztunnel'])
    await cluster.kubectl('-n', SYSTEM, 'rollout', 'status', part, '--timeout=120s')
  await cluster.kubectl('label', 'namespace', MEMBERS, 'sidestep.dev/mode=ambient')
}

/** How long it took; the pod is gone afterwards. */
async function startPod(cluster: Cluster, namespace: string, name: string): Promise<number> {
  const api = cluster.admin()
  const signal = AbortSignal.timeout(START_MS)
  const path = `/api/v1/namespaces/${namespace}/pods`
  const container = {
    ...{ name: 'main', image: 'localhost/tools:1', imagePullPolicy: 'Never' },
    command: ['sleep', '600'],
  }
  const body = {
    ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name } },
    spec: { nodeName: NODE, terminationGracePeriodSeconds: 0, containers: [container] },
  }
  const startMs = performance.now()
  await api.create(path, body, signal)
  for (;;) {
    if (isRunning(await api.getJson(`${path}/${name}`, {}, signal))) break
    await wait(LOOK_MS)
  }
  const tookMs = performance.now() - startMs
  await cluster.kubectl('-n', namespace, 'delete', 'pod', name, '--force', '--grace-period=0')
  return tookMs
}

function isRunning(pod: unknown): boolean {
  const statuses = isMap(pod) ? own(mapOf(pod, 'status'), 'containerStatuses') : []
  const first: unknown = Array.isArray(statuses) ? statuses[0] : null
  return isMap(first) && 'running' in mapOf(first, 'state')
}

/** What the agent of the node says of the pods it was asked for. @throws Error when one was not enrolled in time */
async function waitsOf(cluster: Cluster, names: RegExp): Promise<number[]> {
  const log = await cluster.kubectl('-n', SYSTEM, 'logs', '-l', 'app=ztunnel', '--tail=-1', '--prefix=false')
  const lines = log.split('\n').filter((line) => line.includes('"msg":"a new pod"'))
  return lines
    .map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>) // as: the agent's own lines
    .filter((line) => names.test(textOf(line, 'name')))
    .map(({ isEnrolled, isLate, name, waitedMs }) => {
      if (isEnrolled !== true || isLate !== false)
        throw new Error(`${String(name)} has started without the mesh`)
      return Number(waitedMs)
    })
}
