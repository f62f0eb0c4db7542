// SPDX-License-Identifier: Apache-2.0
// Options of a program as one table: name, type, unit, default, meaning. Flag > environment > default. All mistakes
// are reported together and unknown names are refused, so that a typo never silently means the default.

/** Kinds of values. A `path` is a text that is not empty. */
export type OptionType = 'text' | 'path' | 'boolean' | 'integer'

/** One option. The environment name is `SIDESTEP_` + the upper-case key, the flag `--` + the kebab-case key. */
export interface OptionSpec {
  readonly type: OptionType
  /** Text form; undefined means required. */
  readonly default?: string
  readonly unit?: string
  readonly meaning: string
  /** Other environment names that users of other meshes know. */
  readonly synonyms?: readonly string[]
  /** Closed set of values. */
  readonly choices?: readonly string[]
  readonly min?: number
  readonly max?: number
}
export type OptionTable = Readonly<Record<string, OptionSpec>>

type ValueOf<T extends OptionType> = T extends 'boolean' ? boolean : T extends 'integer' ? number : string
export type OptionValues<T extends OptionTable> = { readonly [K in keyof T]: ValueOf<T[K]['type']> }

const PREFIX = 'SIDESTEP_'

/** `workerCount` → `WORKER_COUNT`. */
function snake(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()
}
/** Environment name of an option. */
export function environmentName(key: string): string {
  return PREFIX + snake(key)
}
/** Flag of an option. */
export function flagName(key: string): string {
  return `--${snake(key).toLowerCase().replaceAll('_', '-')}`
}

function readValue(spec: OptionSpec, text: string): { readonly value: unknown } | string {
  if (spec.type === 'boolean') {
    if (/^(true|false)$/.test(text)) return { value: text === 'true' }
    return 'must be true or false'
  }
  if (spec.type === 'integer') {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
    if (value >= (spec.min ?? 0) && value <= (spec.max ?? Number.MAX_SAFE_INTEGER)) return { value }
    return `must be a whole number from ${spec.min ?? 0}${spec.max === undefined ? '' : ` to ${spec.max}`}`
  }
  if (spec.type === 'path' && text === '') return 'must be a path'
  if (spec.choices !== undefined && !spec.choices.includes(text))
    return `must be one of ${spec.choices.join(', ')}`
  return { value: text }
}

function flagsOf(table: OptionTable, args: readonly string[], mistakes: string[]): Map<string, string> {
  const keys = new Map(Object.keys(table).map((key) => [flagName(key), key]))
  const found = new Map<string, string>()
  for (let i = 0; i < args.length; i++) {
    const [flag = '', inline] = (args[i] ?? '').split(/=(.*)/s)
    const key = keys.get(flag)
    const hasNext = inline === undefined && isValue(args[i + 1])
    if (key === undefined) {
      mistakes.push(`${flag}: unknown option`)
      if (flag.startsWith('--') && hasNext) i++ // its value is no mistake of its own
      continue
    }
    const isBare = inline === undefined && !hasNext
    const value = isBare ? (table[key]?.type === 'boolean' ? 'true' : undefined) : (inline ?? args[++i])
    if (value === undefined) mistakes.push(`${flag}: needs a value`)
    else found.set(key, value)
  }
  return found
}

/** A value that looks like a flag is a forgotten value; who means it writes `--flag=--value`. */
function isValue(argument: string | undefined): boolean {
  return argument !== undefined && !argument.startsWith('--')
}

/** Reads all options. The result is frozen; `mistakes` is empty exactly when it can be used. */
export function readOptions<T extends OptionTable>(
  table: T,
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
): { readonly options: OptionValues<T>; readonly mistakes: readonly string[] } {
  const mistakes: string[] = []
  const flags = flagsOf(table, args, mistakes)
  const known = new Set(Object.keys(table).map(environmentName))
  for (const name of Object.keys(environment)) {
    if (name.startsWith(PREFIX) && !known.has(name)) mistakes.push(`${name}: unknown variable`)
  }
  const options: Record<string, unknown> = {}
  for (const [key, spec] of Object.entries(table)) {
    const names = [environmentName(key), ...(spec.synonyms ?? [])]
    const name = names.find((each) => environment[each] !== undefined)
    const text = flags.get(key) ?? (name === undefined ? undefined : environment[name]) ?? spec.default
    const source = flags.has(key) ? flagName(key) : (name ?? environmentName(key))
    if (text === undefined) {
      mistakes.push(`${source}: is required (${spec.meaning})`)
      continue
    }
    const read = readValue(spec, text)
    if (typeof read === 'string') mistakes.push(`${source}: ${read}, not '${text}'`)
    else options[key] = read.value
  }
  return { options: Object.freeze(options) as OptionValues<T>, mistakes } // as: every key was read by its type
}
