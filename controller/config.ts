// SPDX-License-Identifier: Apache-2.0
// Options of the controller. The only reader of process.env in this room. docs/configuration.md is generated from
// this table.
import { hostname } from 'node:os'
import { LOG_LEVELS } from '../mesh/runtime/log-levels.ts'
import { type OptionTable, type OptionValues, readOptions } from '../mesh/runtime/options.ts'

export const CONTROLLER_OPTIONS = {
  configDirectory: {
    type: 'path',
    meaning: 'directory of YAML files, Kubernetes objects as one would apply them; watched',
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
    meaning: 'directory only this process can read: the CA’s key, join tokens, revocations, audit log',
  },
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
  logLevel: { type: 'text', default: 'info', choices: LOG_LEVELS, meaning: 'least severe log entry written' },
} as const satisfies OptionTable

export type ControllerConfig = OptionValues<typeof CONTROLLER_OPTIONS>

/** Reads the configuration; `mistakes` lists everything that is wrong with it. */
export function readConfig(
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>> = process.env,
): { readonly options: ControllerConfig; readonly mistakes: readonly string[] } {
  return readOptions(CONTROLLER_OPTIONS, args, environment)
}
