// SPDX-License-Identifier: Apache-2.0
// Puts our plugin at the end of a node's CNI configuration, and takes it out again. Pure; fields that we do not know stay.
import { isDeepStrictEqual } from 'node:util'
import { type Refusal, refuse } from '../../../../mesh/errors/refusal.ts'
import { isMap, own, type RawMap, textOf } from '../../../../mesh/kubernetes/raw-map.ts'

/** The name of the plugin, and of its file. */
export const PLUGIN_NAME = 'sidestep-cni'
/** Those in which plugins are chained as ours is. */
const VERSIONS = ['0.3.1', '0.4.0', '1.0.0', '1.1.0']

/** The plugin as it stands in a list. */
export interface PluginEntry {
  readonly type: typeof PLUGIN_NAME
  readonly spool: string
  readonly timeoutMs: number
  readonly onTimeout: string
  /** Namespaces, separated by commas. */
  readonly alwaysStart: string
  /** So long after the node's start a pod that is not enrolled is refused, whatever `onTimeout` says. */
  readonly bootSeconds: number
}

/**
 * The text of a list with our plugin; the same text when it is there as it should be. `keepsOther`: also when it is there
 * with other settings: those of the ztunnel that comes after us.
 */
export function withPlugin(text: string, entry: PluginEntry, keepsOther = false): string | Refusal {
  const list = parse(text)
  const plugins = list === null ? undefined : own(list, 'plugins')
  if (list === null || !Array.isArray(plugins) || plugins.length === 0)
    return refuse('CNI_CONFIG', 'it is no list of plugins')
  if (keepsOther && plugins.some(isOurs)) return text
  const version = textOf(list, 'cniVersion')
  if (!VERSIONS.includes(version))
    return refuse('CNI_CONFIG', `its cniVersion is ${JSON.stringify(version.slice(0, 20))}, not ${VERSIONS}`)
  const wanted = [...plugins.filter((each) => !isOurs(each)), entry]
  return isDeepStrictEqual(plugins, wanted) ? text : format({ ...list, plugins: wanted })
}

/** The text of a list without our plugin; the same text when it is not there. */
export function withoutPlugin(text: string): string {
  const list = parse(text)
  const plugins = list === null ? undefined : own(list, 'plugins')
  if (list === null || !Array.isArray(plugins) || !plugins.some(isOurs)) return text
  return format({ ...list, plugins: plugins.filter((each) => !isOurs(each)) })
}

/** The list that a single plugin is the same as. SPEC CNI "Network configuration format": 1.0 knows only lists. */
export function listOfPlugin(text: string): string | Refusal {
  const plugin = parse(text)
  if (plugin === null || textOf(plugin, 'type') === '') return refuse('CNI_CONFIG', 'it is no plugin')
  const { cniVersion, name } = plugin
  return format({ cniVersion, name, plugins: [plugin] })
}

/** True when a runtime would take the file: it is JSON, with plugins or as one. */
export function isUsable(text: string, isList: boolean): boolean {
  const value = parse(text)
  if (value === null) return false
  const plugins = own(value, 'plugins')
  return isList ? Array.isArray(plugins) && plugins.length > 0 : textOf(value, 'type') !== ''
}

/** True when both say the same. */
export function isSameConfiguration(left: string, right: string): boolean {
  const value = parse(left)
  return value !== null && isDeepStrictEqual(value, parse(right))
}

function isOurs(plugin: unknown): boolean {
  return isMap(plugin) && own(plugin, 'type') === PLUGIN_NAME
}

function parse(text: string): RawMap | null {
  try {
    const value: unknown = JSON.parse(text)
    return isMap(value) ? value : null
  } catch {
    return null
  }
}

function format(value: object): string {
  return `${JSON.stringify(value, null, 2)}\n`
}
