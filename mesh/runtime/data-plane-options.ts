// SPDX-License-Identifier: Apache-2.0
// Options that ztunnel and waypoint share: both follow a controller, have certificates of a CA, and are replaced in place.
import { LOG_LEVELS } from './log-levels.ts'
import type { OptionTable } from './options.ts'

export const DATA_PLANE_OPTIONS = {
  instanceIp: { type: 'text', default: '', meaning: 'address of this pod', synonyms: ['INSTANCE_IP'] },
  clusterId: {
    type: 'text',
    default: 'Kubernetes',
    meaning: 'cluster it is in, as controllers name it',
    synonyms: ['CLUSTER_ID', 'ISTIO_META_CLUSTER_ID'],
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
  certificateTtlSeconds: {
    type: 'integer',
    default: '86400',
    min: 1,
    max: 7_776_000,
    unit: 'seconds',
    meaning: 'lifetime asked for certificates, which are renewed at half of it',
  },
  workerCount: {
    type: 'integer',
    default: '2',
    min: 1,
    max: 64,
    unit: 'threads',
    meaning: 'reactor workers',
  },
  otlpEndpoint: {
    type: 'text',
    default: '',
    meaning:
      'collector that spans are sent to, by OTLP over HTTP in JSON: http://collector:4318; empty: nobody traces',
    synonyms: ['OTEL_EXPORTER_OTLP_ENDPOINT'],
  },
  logLevel: { type: 'text', default: 'info', choices: LOG_LEVELS, meaning: 'least severe log entry written' },
  upgradeDrainSeconds: {
    type: 'integer',
    default: '0',
    min: 0,
    max: 2_592_000,
    unit: 'seconds',
    meaning: 'how long connections may finish after an upgrade; 0: until they end',
  },
  dataProgram: {
    type: 'text',
    default: '',
    meaning: 'program of the data process, read again at every upgrade; empty: the one beside the supervisor',
  },
} as const satisfies OptionTable

/** What is wrong with the values of these beyond their types. */
export function dataPlaneMistakes({ otlpEndpoint }: { readonly otlpEndpoint: string }): readonly string[] {
  if (otlpEndpoint === '' || /^https?:$/.test(URL.parse(otlpEndpoint)?.protocol ?? '')) return []
  return ['SIDESTEP_OTLP_ENDPOINT: needs to be a URL, as http://collector:4318']
}
