// SPDX-License-Identifier: Apache-2.0
// A small cluster's network on one machine, for the demo, the benches and tests: every node and every pod is a
// network namespace. Pods hang on their node by a veth pair, nodes on each other; everything is routed, nothing
// bridged. Namespaces vanish with close() and the last process in them, and take their interfaces along.
//
//   pod eth0 ── p<n> node n<j> ── n<i> node p<m> ── eth0 pod
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { MeshError } from '../../errors/mesh-error.ts'
import { NetworkNamespace } from '../netns.ts'
import { addAddress } from './addresses.ts'
import { NETLINK_ROUTE, NetlinkConnection } from './connection.ts'
import { createVethPair, deleteLink, setLinkUp } from './links.ts'
import { addRoute, deleteRoute } from './routes.ts'

/** Nodes have 10.99.0.<n> and fd99::<n>, counted from 1. */
const NODE_PREFIX = '10.99.0.'
const NODE_PREFIX6 = 'fd99::'
/** The pods' gateway: the node's end of every pod's veth pair, so the addresses may repeat. */
const GATEWAY = '169.254.1.1'
const GATEWAY6 = 'fe80::1'
const MAX_NODES = 200 // the last byte of a node's address

/** A pod to build. `ip` and `ip6` are without prefix length. */
export interface VirtualPodSpec {
  readonly name: string
  readonly ip: string
  readonly ip6?: string
}
/** A node to build, with its pods. */
export interface VirtualNodeSpec {
  readonly name: string
  readonly pods?: readonly VirtualPodSpec[]
}
/** What to build. */
export interface VirtualNetworkSpec {
  readonly nodes: readonly VirtualNodeSpec[]
}

/** A pod's namespace. It belongs to the network: nobody else closes it. */
export interface VirtualPod {
  readonly name: string
  readonly node: string
  readonly ip: string
  /** Empty without IPv6. */
  readonly ip6: string
  readonly namespace: NetworkNamespace
  /** The node's end of the pod's veth pair. */
  readonly hostLink: string
}
/** A node's namespace. It belongs to the network: nobody else closes it. */
export interface VirtualNode {
  readonly name: string
  readonly ip: string
  readonly ip6: string
  readonly namespace: NetworkNamespace
}

/**
 * Starts a process inside a namespace. The calling thread is there only while the process is forked.
 * @throws NAMESPACE_GONE
 */
export function spawnIn(
  namespace: NetworkNamespace,
  command: string,
  args: readonly string[] = [],
  options: SpawnOptions = {},
): ChildProcess {
  return namespace.run(() => spawn(command, args, options))
}

/** Writes kernel settings (`net/ipv4/ip_forward`) of a namespace. @throws SYSTEM_CALL */
export function writeSettings(
  namespace: NetworkNamespace,
  settings: Readonly<Record<string, string | number>>,
): void {
  namespace.run(() => {
    for (const [name, value] of Object.entries(settings)) {
      try {
        writeFileSync(`/proc/sys/${name}`, String(value))
      } catch (cause) {
        throw new MeshError('SYSTEM_CALL', { detail: `set ${name}`, cause })
      }
    }
  })
}

/** Owns every namespace of the network. */
export class VirtualNetwork {
  readonly #nodes = new Map<string, VirtualNode>()
  readonly #pods = new Map<string, VirtualPod>()
  #linkCount = 0

  /** Builds all of it, or nothing. @throws MISSING_CAPABILITY, NETLINK, SYSTEM_CALL */
  static create(spec: VirtualNetworkSpec): VirtualNetwork {
    const network = new VirtualNetwork()
    try {
      for (const node of spec.nodes) network.#addNode(node.name)
      for (const node of spec.nodes) for (const pod of node.pods ?? []) network.addPod(node.name, pod)
      return network
    } catch (error) {
      network.close()
      throw error
    }
  }

  get nodes(): readonly VirtualNode[] {
    return [...this.#nodes.values()]
  }
  get pods(): readonly VirtualPod[] {
    return [...this.#pods.values()]
  }

  /** @throws INTERNAL when there is none of that name */
  node(name: string): VirtualNode {
    return found(this.#nodes.get(name), name)
  }
  /** @throws INTERNAL when there is none of that name */
  pod(name: string): VirtualPod {
    return found(this.#pods.get(name), name)
  }

  /** Adds a pod, reachable from every node and pod when this returns. */
  addPod(nodeName: string, spec: VirtualPodSpec): VirtualPod {
    const node = this.node(nodeName)
    if (this.#pods.has(spec.name)) {
      throw new MeshError('INTERNAL', { detail: `there is a pod ${spec.name} already` })
    }
    const namespace = newNamespace()
    const hostLink = `p${++this.#linkCount}`
    const ip6 = spec.ip6 ?? ''
    const pod: VirtualPod = { name: spec.name, node: nodeName, ip: spec.ip, ip6, namespace, hostLink }
    this.#pods.set(pod.name, pod)
    withRoutes(node.namespace, (connection) => {
      createVethPair(connection, hostLink, { name: 'eth0', namespace })
      setLinkUp(connection, hostLink)
      addAddress(connection, hostLink, `${GATEWAY}/32`)
      addAddress(connection, hostLink, `${GATEWAY6}/128`)
    })
    withRoutes(namespace, (connection) => configurePod(connection, pod))
    withRoutes(node.namespace, (connection) => {
      addRoute(connection, { destination: pod.ip, link: hostLink, source: node.ip })
      if (ip6 !== '') addRoute(connection, { destination: ip6, link: hostLink, source: node.ip6 })
    })
    for (const other of this.#nodes.values()) {
      if (other === node) continue
      withRoutes(other.namespace, (connection) => {
        addRoute(connection, { destination: pod.ip, gateway: node.ip, source: other.ip })
        if (ip6 !== '') addRoute(connection, { destination: ip6, gateway: node.ip6, source: other.ip6 })
      })
    }
    return pod
  }

  /** Cuts a pod off and gives its namespace up. Processes in it keep an empty one. Idempotent. */
  removePod(name: string): void {
    const pod = this.#pods.get(name)
    if (pod === undefined) return
    this.#pods.delete(name)
    for (const node of this.#nodes.values()) {
      withRoutes(node.namespace, (connection) => {
        if (node.name === pod.node) deleteLink(connection, pod.hostLink)
        else {
          deleteRoute(connection, { destination: pod.ip, gateway: this.node(pod.node).ip })
          if (pod.ip6 === '') return
          deleteRoute(connection, { destination: pod.ip6, gateway: this.node(pod.node).ip6 })
        }
      })
    }
    pod.namespace.close()
  }

  /** Gives every namespace up. Idempotent. */
  close(): void {
    for (const { namespace } of [...this.#pods.values(), ...this.#nodes.values()]) namespace.close()
    this.#pods.clear()
    this.#nodes.clear()
  }

  #addNode(name: string): void {
    const number = this.#nodes.size + 1
    if (this.#nodes.has(name) || number > MAX_NODES) {
      throw new MeshError('INTERNAL', { detail: `cannot add the node ${name}` })
    }
    const namespace = newNamespace()
    const node = {
      name,
      ip: `${NODE_PREFIX}${number}`,
      ip6: `${NODE_PREFIX6}${number.toString(16)}`,
      namespace,
    }
    const others = [...this.#nodes.values()]
    this.#nodes.set(name, node)
    writeSettings(namespace, { 'net/ipv4/ip_forward': 1, 'net/ipv6/conf/all/forwarding': 1 })
    others.forEach((other, index) => {
      connectNodes(node, `n${index + 1}`, other, `n${number}`)
    })
    if (others.length > 0) return
    // A single node still needs its addresses: they are the source of what it sends to its pods.
    withRoutes(namespace, (connection) => {
      addAddress(connection, 'lo', `${node.ip}/32`)
      addAddress(connection, 'lo', `${node.ip6}/128`)
    })
  }
}

function found<T>(value: T | undefined, name: string): T {
  if (value === undefined) throw new MeshError('INTERNAL', { detail: `the network has no ${name}` })
  return value
}

function withRoutes(namespace: NetworkNamespace, action: (connection: NetlinkConnection) => void): void {
  NetlinkConnection.use(NETLINK_ROUTE, namespace, action)
}

function newNamespace(): NetworkNamespace {
  const namespace = NetworkNamespace.create()
  try {
    writeSettings(namespace, {
      // A new namespace takes IPv4 settings from the machine's: a strict reverse path would drop routed packets.
      'net/ipv4/conf/all/rp_filter': 0,
      'net/ipv4/conf/default/rp_filter': 0,
      // Link-local addresses are usable at once.
      'net/ipv6/conf/default/accept_dad': 0,
    })
    withRoutes(namespace, (connection) => setLinkUp(connection, 'lo'))
    return namespace
  } catch (error) {
    namespace.close()
    throw error
  }
}

function configurePod(connection: NetlinkConnection, pod: VirtualPod): void {
  setLinkUp(connection, 'eth0')
  addAddress(connection, 'eth0', pod.ip)
  addRoute(connection, { destination: '0.0.0.0/0', link: 'eth0', gateway: GATEWAY, isOnlink: true })
  if (pod.ip6 === '') return
  addAddress(connection, 'eth0', pod.ip6)
  addRoute(connection, { destination: '::/0', link: 'eth0', gateway: GATEWAY6, isOnlink: true })
}

function connectNodes(a: VirtualNode, aLink: string, b: VirtualNode, bLink: string): void {
  withRoutes(a.namespace, (connection) => {
    createVethPair(connection, aLink, { name: bLink, namespace: b.namespace })
  })
  const ends = [
    [a, aLink, b],
    [b, bLink, a],
  ] as const
  for (const [node, link, peer] of ends) {
    withRoutes(node.namespace, (connection) => {
      setLinkUp(connection, link)
      for (const ip of [node.ip, node.ip6]) addAddress(connection, link, ip)
    })
    withRoutes(node.namespace, (connection) => {
      addRoute(connection, { destination: peer.ip, link, source: node.ip })
      addRoute(connection, { destination: peer.ip6, link, source: node.ip6 })
    })
  }
}
