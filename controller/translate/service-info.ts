// SPDX-License-Identifier: Apache-2.0
// What Services and ServiceEntries have in common: a host with ports, and workloads that answer. One object of it lives
// as long as the object it was read from, so that its identity says "unchanged".
import type { AppProtocol } from '../../proto/generated/istio/workload_pb.js'
import type { ConfigObject } from '../watch/config-object.ts'
import type { Selector } from './selectors.ts'

export const MAX_PORT = 65_535

export interface ServicePort {
  readonly name: string
  readonly servicePort: number
  /** Text: named, each workload says its own. */
  readonly targetPort: number | string
  readonly appProtocol: AppProtocol
}

export interface ServiceInfo {
  /** `<namespace>/<hostname>`. */
  readonly key: string
  readonly name: string
  readonly namespace: string
  readonly hostname: string
  readonly object: ConfigObject
  readonly ports: readonly ServicePort[]
  /** Of the workloads that answer; null: they are named by slices or inline. */
  readonly selector: Selector | null
}

/** The number of a named port on a workload; undefined when it has none. */
export type NamedPorts = (port: ServicePort) => number | undefined

/** Service port → target port on one workload; ports it does not have are returned as missing. */
export function resolvePorts(
  info: ServiceInfo,
  named: NamedPorts,
): {
  readonly ports: { servicePort: number; targetPort: number; appProtocol: AppProtocol }[]
  readonly missing: readonly ServicePort[]
} {
  const missing: ServicePort[] = []
  const ports = info.ports.flatMap((port) => {
    const targetPort = named(port) ?? (typeof port.targetPort === 'number' ? port.targetPort : undefined)
    if (targetPort === undefined) missing.push(port)
    const { servicePort, appProtocol } = port
    return targetPort === undefined ? [] : [{ servicePort, targetPort, appProtocol }]
  })
  return { ports, missing }
}
