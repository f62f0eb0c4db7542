// SPDX-License-Identifier: Apache-2.0
// Options of the waypoint, for its supervisor and its data process alike. The only reader of process.env in this room.
// docs/configuration.md is generated from this table.
import { hostname } from 'node:os'
import { DATA_PLANE_OPTIONS, dataPlaneMistakes } from '../mesh/runtime/data-plane-options.ts'
import { type OptionTable, type OptionValues, readOptions } from '../mesh/runtime/options.ts'
import { AccessFormat } from './records/access-format.ts'

export const WAYPOINT_OPTIONS = {
  ...DATA_PLANE_OPTIONS,
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
  nodeName: {
    type: 'text',
    default: hostname(),
    meaning: 'node of this pod, or the name of this machine where it joined by a token',
    synonyms: ['NODE_NAME'],
  },
  network: { type: 'text', default: '', meaning: 'network id of this pod', synonyms: ['NETWORK'] },
  trustDomain: { type: 'text', default: 'cluster.local', meaning: 'trust domain of its identity' },
  controllerAddresses: {
    type: 'path',
    meaning: 'host:port of every controller to follow, separated by commas',
    synonyms: ['XDS_ADDRESS'],
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
  drainSeconds: {
    type: 'integer',
    default: '30',
    min: 0,
    max: 86_400,
    unit: 'seconds',
    meaning: 'how long requests may finish after SIGTERM',
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

function contradictions(options: WaypointConfig): string[] {
  const { accessLog, accessLogFormat } = options
  const format = AccessFormat.parse(accessLogFormat)
  return [
    ...(typeof format === 'string' ? [`SIDESTEP_ACCESS_LOG_FORMAT: ${format}`] : []),
    ...(accessLogFormat !== '' && accessLog !== 'text'
      ? ['SIDESTEP_ACCESS_LOG_FORMAT: only with SIDESTEP_ACCESS_LOG=text']
      : []),
    ...dataPlaneMistakes(options),
  ]
}
