// SPDX-License-Identifier: Apache-2.0
// Kinds that people bring from other meshes and that we do not act on: each object gets an answer, never silence.
import { type ConfigObject, type ConfigView, kindKey } from '../watch/config-object.ts'
import { Notes } from './notes.ts'
import type { ConfigFinding } from './translation.ts'

/** kindKey() → what to do instead. The kinds that the watch reads only for this (tested against its table). */
export const UNSERVED_KINDS: ReadonlyMap<string, string> = new Map([
  [kindKey('networking.istio.io', 'Gateway'), 'use a Gateway of gateway.networking.k8s.io'],
  [
    kindKey('networking.istio.io', 'Sidecar'),
    'remove it: there are no sidecars, and no configuration to trim',
  ],
  [kindKey('networking.istio.io', 'EnvoyFilter'), 'remove it: there is no Envoy to patch'],
  [kindKey('networking.istio.io', 'WorkloadGroup'), 'write a WorkloadEntry for each machine'],
  [kindKey('networking.istio.io', 'ProxyConfig'), 'set the options of the ztunnel DaemonSet'],
  [kindKey('extensions.istio.io', 'WasmPlugin'), 'remove it: WebAssembly filters are not run'],
])

/** One finding per object. */
export function unservedFindings(view: ConfigView): ConfigFinding[] {
  return [...UNSERVED_KINDS].flatMap(([key, fix]) => view.list(key).flatMap((each) => findingsOf(each, fix)))
}

function findingsOf(object: ConfigObject, fix: string): ConfigFinding[] {
  const notes = new Notes(object)
  notes.add('KIND_NOT_SERVED', '', `${object.kind} has no effect in this mesh`, fix)
  return notes.findings
}
