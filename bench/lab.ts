// SPDX-License-Identifier: Apache-2.0
// The place of one subject: two nodes, a client's pod on one and a server's pod on the other, each a network
// namespace; in the server's pod nginx and the sink of bulk data. Every subject has its own, so all can stay up.
//
//   client 10.1.0.1 ── n1 ── n2 ── server 10.2.0.1 (8080 nginx, 9090 sink)

import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { addAddress } from '../mesh/reactor/netlink/addresses.ts'
import { NETLINK_ROUTE, NetlinkConnection } from '../mesh/reactor/netlink/connection.ts'
import { addRoute } from '../mesh/reactor/netlink/routes.ts'
import { VirtualNetwork, type VirtualPod, writeSettings } from '../mesh/reactor/netlink/virtual-network.ts'
import type { BulkSinkOptions } from './load/bulk-sink.ts'
import type { Target } from './load/dial.ts'
import type { HoldOptions } from './load/hold.ts'
import { countTunnels } from './measure/process-usage.ts'
import type { Place } from './place.ts'
import { Processes } from './processes.ts'

export const CLIENT_IP = '10.1.0.1'
export const SERVER_IP = '10.2.0.1'
const TALKER_IP = '10.1.0.2'
const LISTENER_IP = '10.2.0.2'
export const WEB_PORT = 8080
export const BULK_PORT = 9090
/** Addresses the client's pod has beside its own: a port is free again only a minute after its connection ended. */
const CLIENT_SOURCES = 8
const CLIENT_SOURCE_NETWORK = '10.1.1'
/** More addresses of the server: a tunnel belongs to one destination address. */
const DESTINATION_NETWORK = '10.3'
/** Fits the memory bench: 5,000 connections held, and their tunnels'. */
const WORKER_CONNECTIONS = 16_000
const PROGRAM_START_TIMEOUT_MS = 20_000
const PROBE_TIMEOUT_MS = 30_000
const PROBE_INTERVAL_MS = 200

export const NODES = ['n1', 'n2'] as const
export type NodeName = (typeof NODES)[number]

/** A pod of a place. */
export interface PlacedPod {
  readonly name: 'client' | 'server' | 'talker' | 'listener'
  readonly ip: string
  readonly node: NodeName
  readonly isInMesh: boolean
}

/** Who stands where. */
export function podsOf({ isSameNode, isServerPlain, hasNeighbour }: Place): readonly PlacedPod[] {
  const far: NodeName = isSameNode ? 'n1' : 'n2'
  const pair: readonly PlacedPod[] = [
    { name: 'client', ip: CLIENT_IP, node: 'n1', isInMesh: true },
    { name: 'server', ip: SERVER_IP, node: far, isInMesh: !isServerPlain },
  ]
  if (!hasNeighbour) return pair
  return [
    ...pair,
    { name: 'talker', ip: TALKER_IP, node: 'n1', isInMesh: true },
    { name: 'listener', ip: LISTENER_IP, node: far, isInMesh: true },
  ]
}

/** What a lab is asked to have. */
export interface LabOptions {
  readonly path: string
  readonly place: Place
}

/** Owns its directory, its namespaces and all processes in them. */
export class Lab {
  readonly directory: string
  readonly place: Place
  readonly network: VirtualNetwork
  readonly processes: Processes
  /** Addresses a client may connect from. */
  readonly sources: readonly string[]
  /** More addresses of the server, as many as asked for. */
  readonly destinations: readonly string[]
  readonly web: Target = { ip: SERVER_IP, port: WEB_PORT }
  readonly bulk: Target = { ip: SERVER_IP, port: BULK_PORT }
  /** Where the neighbour's bulk goes. */
  readonly listener: Target = { ip: LISTENER_IP, port: BULK_PORT }

  private constructor(directory: string, options: LabOptions) {
    this.directory = directory
    this.place = options.place
    this.processes = new Processes(directory, options.path)
    this.sources = Array.from({ length: CLIENT_SOURCES }, (_, i) => `${CLIENT_SOURCE_NETWORK}.${i + 1}`)
    this.destinations = Array.from(
      { length: options.place.destinationCount },
      (_, i) => `${DESTINATION_NETWORK}.${i >> 8}.${i & 255}`,
    )
    this.network = VirtualNetwork.create({
      nodes: NODES.map((name) => ({
        name,
        pods: podsOf(this.place).flatMap((pod) =>
          pod.node === name ? [{ name: pod.name, ip: pod.ip }] : [],
        ),
      })),
    })
    this.#addAddresses(this.client, this.sources, `${CLIENT_SOURCE_NETWORK}.0/24`)
    this.#addAddresses(this.server, this.destinations, `${DESTINATION_NETWORK}.0.0/16`)
    for (const { namespace } of this.network.pods) {
      writeSettings(namespace, { 'net/ipv4/tcp_tw_reuse': 1, 'net/ipv4/ip_local_port_range': '16000 65000' })
    }
  }

  /** Namespaces, nginx and the sink; nothing between them yet. @throws Error */
  static async open(options: LabOptions): Promise<Lab> {
    const directory = await mkdtemp(join(tmpdir(), 'sidestep-bench-'))
    const lab = new Lab(directory, options)
    try {
      await lab.#startServers()
      return lab
    } catch (error) {
      await lab.close()
      throw error
    }
  }

  get client(): VirtualPod {
    return this.network.pod('client')
  }

  /** Only where the place has one. */
  get talker(): VirtualPod {
    return this.network.pod('talker')
  }

  get server(): VirtualPod {
    return this.network.pod('server')
  }

  file(name: string): string {
    return join(this.directory, name)
  }

  /** Resolves once the client gets an answer from the server. @throws Error when it does not in time */
  async reachable(): Promise<void> {
    const options: HoldOptions = { targets: [this.web], perTarget: 1, keeps: false }
    const endMs = performance.now() + PROBE_TIMEOUT_MS
    for (;;) {
      try {
        await this.processes.measure(this.client.namespace, 'hold', options, PROBE_TIMEOUT_MS)
        return
      } catch (error) {
        if (performance.now() > endMs) throw new Error(`${error}\n${this.processes.logs()}`)
        await wait(PROBE_INTERVAL_MS)
      }
    }
  }

  /** Tunnels that stand now, seen from the client's pod. */
  tunnelCount(): number {
    return this.client.namespace.run(() =>
      ['tcp', 'tcp6']
        .map((table) => countTunnels(readFileSync(`/proc/thread-self/net/${table}`, 'latin1')))
        .reduce((sum, count) => sum + count, 0),
    )
  }

  /** Ends everything. Idempotent. */
  async close(): Promise<void> {
    await this.processes.close()
    this.network.close()
    await rm(this.directory, { recursive: true, force: true })
  }

  #addAddresses(pod: VirtualPod, ips: readonly string[], prefix: string): void {
    const [near, far] = pod.node === 'n1' ? ['n1', 'n2'] : ['n2', 'n1']
    const nodeOf = (name = '') => this.network.node(name)
    NetlinkConnection.use(NETLINK_ROUTE, pod.namespace, (connection) => {
      for (const ip of ips) addAddress(connection, 'eth0', ip)
    })
    NetlinkConnection.use(NETLINK_ROUTE, nodeOf(near).namespace, (connection) => {
      addRoute(connection, { destination: prefix, link: pod.hostLink, source: nodeOf(near).ip })
    })
    NetlinkConnection.use(NETLINK_ROUTE, nodeOf(far).namespace, (connection) => {
      addRoute(connection, { destination: prefix, gateway: nodeOf(near).ip, source: nodeOf(far).ip })
    })
  }

  async #startServers(): Promise<void> {
    const { namespace } = this.server
    const sink: BulkSinkOptions = { port: BULK_PORT }
    await writeFile(this.file('nginx.conf'), nginxConfig(this.directory))
    this.processes.start(namespace, 'nginx', ['-p', this.directory, '-c', this.file('nginx.conf')])
    await this.processes.hold(namespace, 'bulk-sink', sink, PROGRAM_START_TIMEOUT_MS)
    if (this.place.hasNeighbour) {
      const listener = this.network.pod('listener').namespace
      await this.processes.hold(listener, 'bulk-sink', sink, PROGRAM_START_TIMEOUT_MS)
    }
  }
}

/** Nothing is logged, nothing read from disk; connections live until the client closes them. */
function nginxConfig(directory: string): string {
  const bodies = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  return `worker_processes 1; daemon off; pid ${directory}/nginx.pid; error_log ${directory}/nginx.log;
events { worker_connections ${WORKER_CONNECTIONS}; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;
  ${bodies.map((name) => `${name}_temp_path ${directory}/${name};`).join(' ')}
  server { listen 8080 backlog=4096; location / { return 200 "hello\\n"; } }
}
`
}
