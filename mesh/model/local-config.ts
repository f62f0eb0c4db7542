// SPDX-License-Identifier: Apache-2.0
// The configuration file (SPEC XDS §6.2): YAML text in, configuration or findings out. Pure; all mistakes at once.
// A file with any finding is not used at all: half a configuration would be another one.
import type { Node } from 'yaml'
import { parseIp } from '../net/address.ts'
import { parseCidr } from '../net/cidr.ts'
import type { Finding } from './finding.ts'
import { MATCHER_TAGS, readPolicy } from './local-policy.ts'
import type { MeshConfig } from './mesh-state.ts'
import { policyKey } from './policy.ts'
import {
  type IpFamilies,
  type LoadBalancer,
  type NetworkAddress,
  type NetworkCidr,
  type RoutingScope,
  type Service,
  serviceKey,
  type WeightedWaypoint,
} from './service.ts'
import { type GatewayAddress, type PortMap, WORKLOAD_DEFAULTS, type Workload } from './workload.ts'
import { type Fields, quote, YamlReader } from './yaml-reader.ts'

const MAX_PORT = 65_535
const MAX_UINT32 = 4_294_967_295
const NAME = /^[A-Za-z0-9._-]*$/ // what an identity and a `namespace/name` key can hold
const HOSTNAME = /^(\*\.)?[a-z0-9_]([a-z0-9._-]{0,251}[a-z0-9_])?$/
const PORT_NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/
const WORKLOAD_FIELDS = Object.keys(WORKLOAD_DEFAULTS)
const SERVICE_FIELDS = [
  ...['name', 'namespace', 'hostname', 'vips', 'cidrVips', 'ports', 'portNames', 'subjectAltNames'],
  ...['waypoint', 'weightedWaypoints', 'loadBalancer', 'ipFamilies', 'canonical', 'visibility'],
]
const SCOPES: readonly RoutingScope[] = ['Region', 'Zone', 'Subzone', 'Node', 'Cluster', 'Network']

/** How to read the file. */
export interface LocalConfigOptions {
  /** Name for findings. */
  readonly file: string
  /** Trust domain of workloads that name none. Default '': identities are then unusable for mTLS. */
  readonly trustDomain?: string
  /** Service account of workloads that name none. Default ''. */
  readonly serviceAccount?: string
}

/** A file that was read. */
export interface LocalConfig extends MeshConfig {
  readonly kind: 'config'
}

/** A file that was not, and why: every mistake, in the order of the file. */
export interface ConfigFindings {
  readonly kind: 'findings'
  readonly findings: readonly Finding[]
}

/** Reads a configuration file. An empty file is an empty configuration. */
export function parseLocalConfig(text: string, options: LocalConfigOptions): LocalConfig | ConfigFindings {
  const reader = new YamlReader(text, options.file, MATCHER_TAGS)
  const config = reader.root === undefined ? undefined : readConfig(reader, reader.root, options)
  if (reader.findings.length > 0) {
    const findings = reader.findings.toSorted((a, b) => a.line - b.line || a.column - b.column)
    return { kind: 'findings', findings }
  }
  return config ?? { kind: 'config', workloads: [], services: [], policies: [] }
}

function readConfig(reader: YamlReader, root: Node, options: LocalConfigOptions): LocalConfig | undefined {
  const fields = reader.fields(root, '', ['workloads', 'policies', 'services'], [])
  if (fields === undefined) return undefined
  const uids = new KeyRegister(reader, 'uid')
  const ips = new KeyRegister(reader, 'workload address')
  const services = new KeyRegister(reader, 'service')
  const policies = new KeyRegister(reader, 'policy')
  return {
    kind: 'config',
    workloads: reader.list(fields, 'workloads', (node, path) => {
      const workload = readWorkload(reader, node, path, options)
      if (workload === undefined) return undefined
      uids.add(workload.uid, node, `${path}.uid`)
      if (workload.networkMode === 'Standard') {
        for (const ip of workload.workloadIps)
          ips.add(`${workload.network}/${ip}`, node, `${path}.workloadIps`)
      }
      return workload
    }),
    services: reader.list(fields, 'services', (node, path) => {
      const service = readService(reader, node, path)
      if (service !== undefined) services.add(serviceKey(service), node, path)
      return service
    }),
    policies: reader.list(fields, 'policies', (node, path) => {
      const policy = readPolicy(reader, node, path)
      if (policy !== undefined) policies.add(policyKey(policy), node, path)
      return policy
    }),
  }
}

/** Notes what is defined twice. */
class KeyRegister {
  readonly #reader: YamlReader
  readonly #what: string
  readonly #firstPaths = new Map<string, string>()

  constructor(reader: YamlReader, what: string) {
    this.#reader = reader
    this.#what = what
  }

  add(key: string, node: Node, path: string): void {
    const first = this.#firstPaths.get(key)
    if (first === undefined) this.#firstPaths.set(key, path)
    else this.#reader.fail(node, path, `the ${this.#what} ${quote(key)} stands already in ${first}`)
  }
}

function readWorkload(
  reader: YamlReader,
  node: Node,
  path: string,
  { trustDomain = '', serviceAccount = '' }: LocalConfigOptions,
): Workload | undefined {
  const fields = reader.fields(node, path, WORKLOAD_FIELDS, ['workloadIps', 'namespace', 'services'])
  if (fields === undefined) return undefined
  const namespace = readName(reader, fields, 'namespace', '')
  const name = readName(reader, fields, 'name', '')
  return {
    // Without a uid the path serves: it is unique in the file, and a reload replaces everything anyway.
    uid: reader.text(fields, 'uid') || `file//Pod/${namespace}/${name || path}`,
    name,
    namespace,
    serviceAccount: readName(reader, fields, 'serviceAccount', serviceAccount),
    trustDomain: readName(reader, fields, 'trustDomain', trustDomain),
    workloadIps: reader.list(fields, 'workloadIps', (item, at) => readIp(reader, item, at)),
    hostname: readHostname(reader, fields, 'hostname'),
    network: readName(reader, fields, 'network', ''),
    networkMode: reader.oneOf(fields, 'networkMode', ['Standard', 'HostNetwork'] as const, 'Standard'),
    protocol: reader.oneOf(fields, 'protocol', ['TCP', 'HBONE'] as const, 'TCP'),
    node: reader.text(fields, 'node'),
    clusterId: reader.text(fields, 'clusterId'),
    locality: readLocality(reader, fields),
    status: reader.oneOf(fields, 'status', ['Healthy', 'Unhealthy'] as const, 'Healthy'),
    capacity: reader.integer(fields, 'capacity', 0, MAX_UINT32, 1),
    waypoint: readGatewayField(reader, fields, 'waypoint'),
    networkGateway: readGatewayField(reader, fields, 'networkGateway'),
    nativeTunnel: reader.flag(fields, 'nativeTunnel'),
    applicationTunnel: readApplicationTunnel(reader, fields),
    sameNode: reader.oneOf(fields, 'sameNode', ['direct', ''] as const, ''),
    labels: null,
    services: readMemberships(reader, fields),
    authorizationPolicies: reader.list(fields, 'authorizationPolicies', (item, at) =>
      reader.readText(item, at),
    ),
    workloadName: reader.text(fields, 'workloadName'),
    workloadType: reader.oneOf(
      fields,
      'workloadType',
      ['deployment', 'cronjob', 'pod', 'job', ''] as const,
      '',
    ),
    canonicalName: reader.text(fields, 'canonicalName'),
    canonicalRevision: reader.text(fields, 'canonicalRevision'),
  }
}

function readService(reader: YamlReader, node: Node, path: string): Service | undefined {
  const fields = reader.fields(node, path, SERVICE_FIELDS, ['name', 'namespace', 'hostname', 'vips', 'ports'])
  if (fields === undefined) return undefined
  const ports = fields.get('ports')
  const families: readonly NonNullable<IpFamilies>[] = ['Dual', 'IPv4', 'IPv6']
  const ipFamilies = fields.get('ipFamilies')
  return {
    name: reader.text(fields, 'name'),
    namespace: readName(reader, fields, 'namespace', ''),
    hostname: readHostname(reader, fields, 'hostname'),
    vips: reader.list(fields, 'vips', (item, at) => readNetworkAddress(reader, item, at)),
    cidrVips: reader.list(fields, 'cidrVips', (item, at) => readNetworkCidr(reader, item, at)),
    ports: ports === undefined ? {} : readPorts(reader, ports, fields.pathOf('ports')),
    portNames: readPortNames(reader, fields),
    appProtocols: {}, // only waypoints ask, and they follow a controller
    subjectAltNames: reader.list(fields, 'subjectAltNames', (item, at) => reader.readText(item, at)),
    waypoint: readGatewayField(reader, fields, 'waypoint'),
    weightedWaypoints: reader.list(fields, 'weightedWaypoints', (item, at) => readWeighted(reader, item, at)),
    loadBalancer: readLoadBalancer(reader, fields),
    ipFamilies:
      ipFamilies === undefined
        ? null
        : (reader.readOneOf(ipFamilies, fields.pathOf('ipFamilies'), families) ?? null),
    canonical: reader.flag(fields, 'canonical'),
    visibility: reader.oneOf(fields, 'visibility', ['Public', 'Namespace'] as const, 'Public'),
  }
}

function readName(reader: YamlReader, fields: Fields, key: string, fallback: string): string {
  const text = reader.text(fields, key, fallback)
  const node = fields.get(key)
  if (node !== undefined && !NAME.test(text)) {
    reader.fail(node, fields.pathOf(key), `only letters, digits, ".", "_" and "-": ${quote(text)}`)
  }
  return text
}

function readHostname(reader: YamlReader, fields: Fields, key: string): string {
  const text = reader.text(fields, key).toLowerCase()
  const node = fields.get(key)
  if (node !== undefined && !HOSTNAME.test(text))
    reader.fail(node, fields.pathOf(key), `no host name: ${quote(text)}`)
  return text
}

function readIp(reader: YamlReader, node: Node, path: string): string | undefined {
  const text = reader.readText(node, path)
  if (text === undefined) return undefined
  const ip = parseIp(text)
  if (ip === undefined) reader.fail(node, path, `no IP address: ${quote(text)}`)
  return ip
}

/** Splits `network/rest`; the network may be empty, the slash may not be missing. */
function readSlashed(
  reader: YamlReader,
  node: Node,
  path: string,
  form: string,
): [string, string] | undefined {
  const text = reader.readText(node, path)
  if (text === undefined) return undefined
  const slash = text.indexOf('/')
  if (slash >= 0 && NAME.test(text.slice(0, slash))) return [text.slice(0, slash), text.slice(slash + 1)]
  reader.fail(node, path, `expected ${form}, found ${quote(text)}`, slash < 0 ? `/${text}` : '')
  return undefined
}

function readNetworkAddress(reader: YamlReader, node: Node, path: string): NetworkAddress | undefined {
  const parts = readSlashed(reader, node, path, '"<network>/<ip>"')
  if (parts === undefined) return undefined
  const ip = parseIp(parts[1])
  if (ip === undefined) reader.fail(node, path, `no IP address: ${quote(parts[1])}`)
  return ip === undefined ? undefined : { network: parts[0], ip }
}

function readNetworkCidr(reader: YamlReader, node: Node, path: string): NetworkCidr | undefined {
  const parts = readSlashed(reader, node, path, '"<network>/<ip>/<length>"')
  if (parts === undefined) return undefined
  const cidr = parseCidr(parts[1])
  if (cidr === undefined) reader.fail(node, path, `no IP prefix: ${quote(parts[1])}`)
  return cidr === undefined ? undefined : { network: parts[0], cidr: cidr.text }
}

function readPorts(reader: YamlReader, node: Node, path: string): PortMap {
  const ports: Record<number, number> = {}
  for (const { key, keyNode, value, path: at } of reader.entries(node, path) ?? []) {
    const port = /^[1-9]\d{0,4}$/.test(key) ? Number(key) : 0
    if (port < 1 || port > MAX_PORT) reader.fail(keyNode, at, `no port: ${quote(key)}`)
    const target = reader.readInteger(value, at, 0, MAX_PORT)
    if (target !== undefined) ports[port] = target
  }
  return ports
}

/** Ours; Istio's file has no names of ports. */
function readPortNames(reader: YamlReader, fields: Fields): Record<string, number> {
  const names: Record<string, number> = {}
  const raw = fields.get('portNames')
  if (raw === undefined) return names
  for (const { key, keyNode, value, path } of reader.entries(raw, fields.pathOf('portNames')) ?? []) {
    if (!PORT_NAME.test(key)) reader.fail(keyNode, path, `no name of a port: ${quote(key)}`)
    const port = reader.readInteger(value, path, 1, MAX_PORT)
    if (port !== undefined) names[key] = port
  }
  return names
}

function readMemberships(reader: YamlReader, fields: Fields): Record<string, PortMap> {
  const services: Record<string, PortMap> = {}
  const raw = fields.get('services')
  if (raw === undefined) return services
  for (const { key, keyNode, value, path } of reader.entries(raw, fields.pathOf('services')) ?? []) {
    const [namespace = '', hostname = '', ...rest] = key.split('/')
    if (!NAME.test(namespace) || !HOSTNAME.test(hostname.toLowerCase()) || rest.length > 0) {
      reader.fail(keyNode, path, `expected "<namespace>/<hostname>", found ${quote(key)}`)
    }
    services[`${namespace}/${hostname.toLowerCase()}`] = readPorts(reader, value, path)
  }
  return services
}

function readLocality(reader: YamlReader, fields: Fields): Workload['locality'] {
  const keys = ['region', 'zone', 'subzone']
  const raw = fields.get('locality')
  const locality = raw === undefined ? undefined : reader.fields(raw, fields.pathOf('locality'), keys, keys)
  if (locality === undefined) return WORKLOAD_DEFAULTS.locality
  return {
    region: reader.text(locality, 'region'),
    zone: reader.text(locality, 'zone'),
    subzone: reader.text(locality, 'subzone'),
  }
}

function readApplicationTunnel(reader: YamlReader, fields: Fields): Workload['applicationTunnel'] {
  const raw = fields.get('applicationTunnel')
  const path = fields.pathOf('applicationTunnel')
  const tunnel = raw === undefined ? undefined : reader.fields(raw, path, ['protocol', 'port'], ['protocol'])
  if (tunnel === undefined) return null
  return {
    protocol: reader.oneOf(tunnel, 'protocol', ['NONE', 'PROXY'] as const, 'NONE'),
    port: reader.integer(tunnel, 'port', 0, MAX_PORT, 0),
  }
}

function readGatewayField(reader: YamlReader, fields: Fields, key: string): GatewayAddress | null {
  const raw = fields.get(key)
  return raw === undefined ? null : (readGateway(reader, raw, fields.pathOf(key)) ?? null)
}

function readGateway(reader: YamlReader, raw: Node, path: string): GatewayAddress | undefined {
  const keys = ['destination', 'hboneMtlsPort']
  const fields = reader.fields(raw, path, keys, keys)
  const node = fields?.get('destination')
  if (fields === undefined || node === undefined) return undefined
  const at = fields.pathOf('destination')
  const parts = readSlashed(reader, node, at, '"<network>/<ip>" or "<namespace>/<hostname>"')
  if (parts === undefined) return undefined
  const hboneMtlsPort = reader.integer(fields, 'hboneMtlsPort', 1, MAX_PORT, 15_008)
  const ip = parseIp(parts[1])
  if (ip !== undefined) return { destination: { kind: 'address', network: parts[0], ip }, hboneMtlsPort }
  const hostname = parts[1].toLowerCase()
  if (!HOSTNAME.test(hostname)) reader.fail(node, at, `neither IP address nor host name: ${quote(parts[1])}`)
  return { destination: { kind: 'hostname', namespace: parts[0], hostname }, hboneMtlsPort }
}

function readWeighted(reader: YamlReader, raw: Node, path: string): WeightedWaypoint | undefined {
  const keys = ['destination', 'weight']
  const fields = reader.fields(raw, path, keys, keys)
  const destination = fields === undefined ? null : readGatewayField(reader, fields, 'destination')
  if (fields === undefined || destination === null) return undefined
  return { destination, weight: reader.integer(fields, 'weight', 0, MAX_UINT32, 0) }
}

function readLoadBalancer(reader: YamlReader, fields: Fields): LoadBalancer | null {
  const keys = ['routingPreferences', 'mode', 'healthPolicy']
  const raw = fields.get('loadBalancer')
  const balancer =
    raw === undefined ? undefined : reader.fields(raw, fields.pathOf('loadBalancer'), keys, keys)
  if (balancer === undefined) return null
  const modes = ['Standard', 'Strict', 'Failover', 'Passthrough'] as const
  return {
    routingPreferences: reader.list(balancer, 'routingPreferences', (item, at) =>
      reader.readOneOf(item, at, SCOPES),
    ),
    mode: reader.oneOf(balancer, 'mode', modes, 'Standard'),
    healthPolicy: reader.oneOf(balancer, 'healthPolicy', ['OnlyHealthy', 'AllowAll'] as const, 'OnlyHealthy'),
  }
}
