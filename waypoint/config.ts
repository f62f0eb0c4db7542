// SPDX-License-Identifier: Apache-2.0
// Options of the waypoint, for its supervisor and its data process alike. The only reader of process.env in this room.
// docs/configuration.md is generated from this table.
import { hostname } from 'node:os'
import { LOG_LEVELS } from '../mesh/runtime/log-levels.ts'
import { type OptionTable, type OptionValues, readOptions } from '../mesh/runtime/options.ts'
import { AccessFormat } from './records/access-format.ts'

export const WAYPOINT_OPTIONS = {
  gatewayName: { type: 'text', default: '', meaning: 'name of the Gateway this waypoint is of, for people' },
  podName: {
    type: 'text',
    default: hostname(),
    meaning: 'name of this pod, or of the workload that it is outside of Kubernetes',
    synonyms: ['POD_NAME'],
  },
  podNamespace: {
    type: 'text',
    default: 'default',
    meaning: 'namespace of this pod',
    synonyms: ['POD_NAMESPACE'],
  },
  serviceAccount: {
    type: 'text',
    default: 'default',
    meaning: 'service account of this pod: its identity',
    synonyms: ['SERVICE_ACCOUNT'],
  },
  instanceIp: { type: 'text', default: '', meaning: 'address of this pod', synonyms: ['INSTANCE_IP'] },
  nodeName: {
    type: 'text',
    default: hostname(),
    meaning: 'node of this pod, or the name of this machine where it joined by a token',
    synonyms: ['NODE_NAME'],
  },
  network: { type: 'text', default: '', meaning: 'network id of this pod', synonyms: ['NETWORK'] },
  trustDomain: { type: 'text', default: 'cluster.local', meaning: 'trust domain of its identity' },
  clusterId: {
    type: 'text',
    default: 'Kubernetes',
    meaning: 'cluster of this pod, as controllers name it',
    synonyms: ['CLUSTER_ID', 'ISTIO_META_CLUSTER_ID'],
  },
  controllerAddresses: {
    type: 'path',
    meaning: 'host:port of every controller to follow, separated by commas',
    synonyms: ['XDS_ADDRESS'],
  },
  caAddresses: {
    type: 'text',
    default: '',
    meaning: 'host:port of every CA; empty: the controllers',
    synonyms: ['CA_ADDRESS'],
  },
  controllerRoots: {
    type: 'text',
    default: '',
    meaning: 'PEM file with the roots of the controllers’ certificates; empty: those of the system',
    synonyms: ['XDS_ROOT_CA'],
  },
  controllerToken: {
    type: 'text',
    default: '',
    meaning: 'file with the token for controller and CA: of a service account, or a join token',
    synonyms: ['AUTH_TOKEN'],
  },
  stateDirectory: {
    type: 'path',
    default: '/var/lib/sidestep',
    meaning:
      'directory only this process can write; holds what is revoked, and the certificate of a joined machine',
  },
  listenAddress: {
    type: 'text',
    default: '::',
    meaning: 'address that tunnels are taken on, port 15008; ::: every one, of both families',
  },
  certificateTtlSeconds: {
    type: 'integer',
    default: '86400',
    min: 1,
    max: 7_776_000,
    unit: 'seconds',
    meaning: 'lifetime asked for its certificate, which is renewed at half of it',
  },
  adminSocket: {
    type: 'path',
    default: '/run/sidestep/waypoint.sock',
    meaning: 'Unix socket of the admin API',
  },
  statusPort: {
    type: 'integer',
    default: '15021',
    min: 0,
    max: 65_535,
    unit: 'port',
    meaning: 'TCP port of /ready and /metrics, for everybody who reaches it; 0: none',
  },
  workerCount: {
    type: 'integer',
    default: '2',
    min: 1,
    max: 64,
    unit: 'threads',
    meaning: 'reactor workers',
  },
  records: {
    type: 'text',
    default: 'stdout',
    meaning: 'where records of requests go: stdout, off, or a file that is appended to',
  },
  accessLog: {
    type: 'text',
    default: 'json',
    choices: ['json', 'text', 'off'],
    meaning: 'a record of each request: as JSON, as text in the form of accessLogFormat, or none',
  },
  accessLogFormat: {
    type: 'text',
    default: '',
    meaning: 'records as text: with commands as Envoy’s, `%RESPONSE_CODE%`; empty: Istio’s format',
  },
  otlpEndpoint: {
    type: 'text',
    default: '',
    meaning:
      'collector that requests are sent to as spans, by OTLP over HTTP in JSON: http://collector:4318; empty: nobody traces',
    synonyms: ['OTEL_EXPORTER_OTLP_ENDPOINT'],
  },
  otlpSamplesPerMillion: {
    type: 'integer',
    default: '10000',
    min: 0,
    max: 1_000_000,
    unit: 'of a million',
    meaning: 'requests that become spans where neither their caller nor a Telemetry says it',
  },
  bodyTimeoutSeconds: {
    type: 'integer',
    default: '300',
    min: 0,
    max: 86_400,
    unit: 'seconds',
    meaning:
      'a request of which a body is awaited and nothing comes, while nobody answers it: 408 then; no call of gRPC; 0: it is waited for for ever',
  },
  logLevel: { type: 'text', default: 'info', choices: LOG_LEVELS, meaning: 'least severe log entry written' },
  drainSeconds: {
    type: 'integer',
    default: '30',
    min: 0,
    max: 86_400,
    unit: 'seconds',
    meaning: 'how long requests may finish after SIGTERM',
  },
  upgradeDrainSeconds: {
    type: 'integer',
    default: '0',
    min: 0,
    max: 2_592_000,
    unit: 'seconds',
    meaning: 'how long requests and connections may finish after an upgrade; 0: until they end',
  },
  dataProgram: {
    type: 'text',
    default: '',
    meaning: 'program of the data process, read again at every upgrade; empty: the one beside the supervisor',
  },
} as const satisfies OptionTable

export type WaypointConfig = OptionValues<typeof WAYPOINT_OPTIONS>

/** Reads the configuration; `mistakes` lists everything that is wrong with it. */
export function readConfig(
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>> = process.env,
): { readonly options: WaypointConfig; readonly mistakes: readonly string[] } {
  const { options, mistakes } = readOptions(WAYPOINT_OPTIONS, args, environment)
  return { options, mistakes: mistakes.length > 0 ? mistakes : contradictions(options) }
}

/** A variable of this process, for tags of spans that name one; '' for one that is not set. */
export function environment(name: string): string {
  return process.env[name] ?? ''
}

function contradictions({ accessLog, accessLogFormat, otlpEndpoint }: WaypointConfig): string[] {
  const format = AccessFormat.parse(accessLogFormat)
  return [
    ...(typeof format === 'string' ? [`SIDESTEP_ACCESS_LOG_FORMAT: ${format}`] : []),
    ...(accessLogFormat !== '' && accessLog !== 'text'
      ? ['SIDESTEP_ACCESS_LOG_FORMAT: only with SIDESTEP_ACCESS_LOG=text']
      : []),
    ...(otlpEndpoint !== '' && !/^https?:$/.test(URL.parse(otlpEndpoint)?.protocol ?? '')
      ? ['SIDESTEP_OTLP_ENDPOINT: needs to be a URL, as http://collector:4318']
      : []),
  ]
}
