// SPDX-License-Identifier: Apache-2.0
// Options of the controller. The only reader of process.env in this room. docs/configuration.md is generated from
// this table.
import { hostname } from 'node:os'
import { LOG_LEVELS } from '../mesh/runtime/log-levels.ts'
import { type OptionTable, type OptionValues, readOptions } from '../mesh/runtime/options.ts'
import { contradictionsOf } from './contradictions.ts'

export const CONTROLLER_OPTIONS = {
  configSource: {
    type: 'text',
    default: 'directory',
    choices: ['directory', 'redis', 'kubernetes'],
    meaning: 'where the configuration is read',
  },
  configDirectory: {
    type: 'text',
    default: '',
    meaning: 'source directory: YAML files, Kubernetes objects as one would apply them; watched',
  },
  redisAddresses: {
    type: 'text',
    default: '',
    meaning:
      'source redis: redis://host:port, or rediss:// for TLS; of several, separated by commas, the first that is a primary is used',
  },
  redisUser: { type: 'text', default: '', meaning: 'ACL user of Redis; empty: the default user' },
  redisPasswordFile: {
    type: 'text',
    default: '',
    meaning: 'file with the password of Redis; read for every connection',
  },
  redisCaFile: {
    type: 'text',
    default: '',
    meaning: 'PEM file with the roots of Redis’ certificate; empty: those of the system',
  },
  redisCertificateFile: {
    type: 'text',
    default: '',
    meaning: 'PEM file with our certificate, when Redis wants one',
  },
  redisKeyFile: { type: 'text', default: '', meaning: 'PEM file with the key of that certificate' },
  redisPrefix: { type: 'text', default: 'sidestep', meaning: 'first part of every key in Redis' },
  kubeconfigFile: {
    type: 'text',
    default: '',
    meaning:
      'source kubernetes: kubeconfig to use; empty: the pod’s own account, else what kubectl would take',
  },
  controllerNamespace: {
    type: 'text',
    default: 'istio-system',
    meaning: 'source kubernetes: namespace of the controller’s Lease and Secrets',
  },
  nodeAccounts: {
    type: 'text',
    default: 'istio-system/ztunnel',
    meaning:
      'source kubernetes: service accounts, separated by commas, that may ask for certificates of the pods on their node',
  },
  waypointImage: {
    type: 'text',
    default: 'docker.io/sidestep/sidestep:0.1.0',
    meaning: 'source kubernetes: image of the waypoints that are provisioned; empty: none are',
  },
  waypointImagePullPolicy: {
    type: 'text',
    default: 'IfNotPresent',
    choices: ['Always', 'IfNotPresent', 'Never'],
    meaning: 'source kubernetes: when that image is pulled',
  },
  waypointControllerAddresses: {
    type: 'text',
    default: 'sidestep-controller.istio-system.svc:15012',
    meaning: 'source kubernetes: host:port of every controller, separated by commas, as waypoints dial it',
  },
  waypointAccessLog: {
    type: 'text',
    default: '',
    choices: ['', 'json', 'text', 'off'],
    meaning: 'source kubernetes: accessLog of the waypoints; empty: json',
  },
  waypointAccessLogFormat: {
    type: 'text',
    default: '',
    meaning: 'source kubernetes: accessLogFormat of the waypoints',
  },
  waypointOtlpEndpoint: {
    type: 'text',
    default: '',
    meaning: 'source kubernetes: otlpEndpoint of the waypoints; empty: they trace nothing',
  },
  waypointOtlpSamplesPerMillion: {
    type: 'integer',
    default: '10000',
    min: 0,
    max: 1_000_000,
    unit: 'of a million',
    meaning: 'source kubernetes: otlpSamplesPerMillion of the waypoints',
  },
  waypointBodyTimeoutSeconds: {
    type: 'integer',
    default: '300',
    min: 0,
    max: 86_400,
    unit: 'seconds',
    meaning: 'source kubernetes: bodyTimeoutSeconds of the waypoints',
  },
  listenHost: { type: 'text', default: '::', meaning: 'address on which ztunnels are served' },
  listenPort: {
    type: 'integer',
    default: '15012',
    min: 0,
    max: 65_535,
    unit: 'port',
    meaning: 'port of discovery and CA; 0: the system chooses',
  },
  serverNames: {
    type: 'text',
    default: `localhost,sidestep-controller.istio-system.svc,istiod.istio-system.svc,${hostname()}`,
    meaning: 'DNS names in the controller’s certificate, separated by commas: those that ztunnels dial',
  },
  stateDirectory: {
    type: 'path',
    default: '/var/lib/sidestep-controller',
    meaning: 'directory only this process can read: the audit log, and what no other option has elsewhere',
  },
  caSource: {
    type: 'text',
    default: 'embedded',
    choices: ['embedded', 'cacerts', 'istio', 'vault'],
    meaning: 'who signs: our own root, an intermediate in files, a server of Istio’s CA service, or Vault',
  },
  caDirectory: {
    type: 'text',
    default: '',
    meaning:
      'directory that replicas share: our own root with its key, revocations; empty: `ca` in the state directory',
  },
  cacertsDirectory: {
    type: 'text',
    default: '',
    meaning: 'CA cacerts: directory of ca-cert.pem, ca-key.pem, root-cert.pem and cert-chain.pem; watched',
  },
  caAddress: {
    type: 'text',
    default: '',
    meaning: 'CA istio: its host:port; CA vault: its URL, as https://host:8200',
  },
  caTlsRootsFile: {
    type: 'text',
    default: '',
    meaning:
      'CA istio, vault: PEM file with the roots of the server’s TLS certificate; empty: those of the system',
  },
  caRootsFile: {
    type: 'text',
    default: '',
    meaning:
      'CA istio, vault: PEM file with the roots of the mesh: nodes’ certificates are verified with them',
  },
  caTokenFile: {
    type: 'text',
    default: '',
    meaning: 'CA istio, vault: file with the token we show; read before every signature',
  },
  vaultMount: { type: 'text', default: 'pki', meaning: 'CA vault: where its PKI engine is mounted' },
  vaultRole: { type: 'text', default: '', meaning: 'CA vault: the role that signs' },
  vaultNamespace: { type: 'text', default: '', meaning: 'CA vault: namespace of Vault Enterprise' },
  trustDomain: { type: 'text', default: 'cluster.local', meaning: 'trust domain of the mesh' },
  clusterId: { type: 'text', default: 'Kubernetes', meaning: 'name of the cluster in workload ids' },
  network: { type: 'text', default: '', meaning: 'network of everything that names none' },
  rootNamespace: {
    type: 'text',
    default: 'istio-system',
    meaning: 'namespace whose policies hold in the whole mesh',
  },
  clusterDomain: { type: 'text', default: 'cluster.local', meaning: 'DNS domain of services' },
  autoAddressRange: {
    type: 'text',
    default: '240.240.0.0/16',
    meaning: 'IPv4 network from which addresses are given to services that have none',
  },
  adminSocket: {
    type: 'path',
    default: '/run/sidestep/controller.sock',
    meaning: 'Unix socket of the admin API',
  },
  statusPort: {
    type: 'integer',
    default: '0',
    min: 0,
    max: 65_535,
    unit: 'port',
    meaning: 'TCP port of /ready and /metrics, for everybody who reaches it; 0: none',
  },
  logLevel: { type: 'text', default: 'info', choices: LOG_LEVELS, meaning: 'least severe log entry written' },
} as const satisfies OptionTable

export type ControllerConfig = OptionValues<typeof CONTROLLER_OPTIONS>

/** Reads the configuration; `mistakes` lists everything that is wrong with it. */
export function readConfig(
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>> = process.env,
): { readonly options: ControllerConfig; readonly mistakes: readonly string[] } {
  const { options, mistakes } = readOptions(CONTROLLER_OPTIONS, args, environment)
  // An option that could not be read would be told a second time as missing.
  return { options, mistakes: mistakes.length > 0 ? mistakes : contradictionsOf(options) }
}
