// SPDX-License-Identifier: Apache-2.0
// Rules of an AuthorizationPolicy for waypoints: every attribute, of connections and of requests. What cannot be read is
// never guessed: a rule that allows matches nothing, one that denies matches whatever it might have meant.
import type { MessageInitShape } from '@bufbuild/protobuf'
import {
  RequestConstraint_Attribute as Attribute,
  type RequestRuleSchema,
} from '../../../proto/generated/sidestep/v1/request_policies_pb.js'
import type { ConfigObject } from '../../watch/config-object.ts'
import type { ReadRule } from '../authorization-rules.ts'
import { Fields, isMap } from '../fields.ts'
import { whenKeyOf } from '../l7-detection.ts'
import { Notes, quote } from '../notes.ts'
import { readRequestValues } from './request-values.ts'

export type RequestRuleInit = Exclude<
  MessageInitShape<typeof RequestRuleSchema>,
  { readonly $typeName: string }
>
type ClauseInit = Exclude<NonNullable<RequestRuleInit['clauses']>[number], { readonly $typeName: string }>
type ConjunctionInit = Exclude<
  NonNullable<ClauseInit['alternatives']>[number],
  { readonly $typeName: string }
>
type ConstraintInit = Exclude<
  NonNullable<ConjunctionInit['constraints']>[number],
  { readonly $typeName: string }
>

/** Rules as far as they could be read. */
export interface RequestRules {
  readonly rules: readonly RequestRuleInit[]
  readonly isBroken: boolean
}

const positive = (name: string, attribute: Attribute): readonly [string, readonly [Attribute, boolean]][] => {
  const negative = `not${name.charAt(0).toUpperCase()}${name.slice(1)}`
  return [
    [name, [attribute, false]],
    [negative, [attribute, true]],
  ]
}

const SOURCE = new Map([
  ...positive('principals', Attribute.SOURCE_PRINCIPAL),
  ...positive('requestPrincipals', Attribute.REQUEST_PRINCIPAL),
  ...positive('namespaces', Attribute.SOURCE_NAMESPACE),
  ...positive('serviceAccounts', Attribute.SOURCE_SERVICE_ACCOUNT),
  ...positive('ipBlocks', Attribute.SOURCE_IP),
  ...positive('remoteIpBlocks', Attribute.REMOTE_IP),
])
const OPERATION = new Map([
  ...positive('hosts', Attribute.HOST),
  ...positive('ports', Attribute.DESTINATION_PORT),
  ...positive('methods', Attribute.METHOD),
  ...positive('paths', Attribute.PATH),
])
const KEYS: ReadonlyMap<string, Attribute> = new Map([
  ['source.ip', Attribute.SOURCE_IP],
  ['source.namespace', Attribute.SOURCE_NAMESPACE],
  ['source.principal', Attribute.SOURCE_PRINCIPAL],
  ['remote.ip', Attribute.REMOTE_IP],
  ['destination.ip', Attribute.DESTINATION_IP],
  ['destination.port', Attribute.DESTINATION_PORT],
  ['connection.sni', Attribute.CONNECTION_SNI],
  ['request.auth.principal', Attribute.REQUEST_PRINCIPAL],
  ['request.auth.audiences', Attribute.REQUEST_AUDIENCE],
  ['request.auth.presenter', Attribute.REQUEST_PRESENTER],
])
const HEADER_KEY = /^request\.headers\[([^[\]]+)\]$/
const CLAIM_KEY = /^request\.auth\.claims((?:\[[^[\]]+\])+)$/

/**
 * Reads `spec.rules` once more. `known` is what layer 4 made of them: its mistakes are noted already, those of layer 7 are
 * noted here. `isAllowing`: the policy lets somebody in, so that what cannot be read must match nothing.
 */
export function readRequestRules(
  policy: ConfigObject,
  spec: Fields,
  known: readonly ReadRule[],
  isAllowing: boolean,
): RequestRules {
  const reader = new RuleReader(policy, spec.notes)
  let isBroken = false
  const rules = spec.list('rules').flatMap(({ value, path }, index) => {
    const clauses = reader.clauses(isMap(value) ? value : {}, path)
    const isOk = !reader.isBroken && known[index]?.isBroken === false
    reader.isBroken = false
    if (!isOk) isBroken = true
    return isOk || !isAllowing ? [{ clauses, index }] : []
  })
  return { rules, isBroken }
}

class RuleReader {
  /** Something of layer 7 could not be read since this was last set. */
  isBroken = false
  readonly #home: string
  readonly #notes: Notes
  /** For what has been noted before. */
  readonly #unheard: Notes

  constructor(policy: ConfigObject, notes: Notes) {
    this.#home = policy.metadata.namespace
    this.#notes = notes
    this.#unheard = new Notes(policy)
  }

  clauses(rule: Readonly<Record<string, unknown>>, path: string): ClauseInit[] {
    const fields = new Fields(rule, path, this.#unheard)
    const entries = (key: string, inner: string, table: typeof SOURCE): ConjunctionInit[] =>
      fields.list(key).map((entry) => {
        const map = isMap(entry.value) ? entry.value[inner] : undefined
        const at = `${entry.path}.${inner}`
        return { constraints: this.#attributes(isMap(map) ? map : {}, at, table) }
      })
    const conditions = fields
      .list('when')
      .map((entry) => [this.#condition(isMap(entry.value) ? entry.value : {}, entry.path)])
    return [entries('to', 'operation', OPERATION), entries('from', 'source', SOURCE), ...conditions].flatMap(
      clauseOf,
    )
  }

  #attributes(map: Readonly<Record<string, unknown>>, path: string, table: typeof SOURCE): ConstraintInit[] {
    return new Fields(map, path, this.#unheard).keys().flatMap((key) => {
      const meaning = table.get(key)
      if (meaning === undefined) return [] // noted by layer 4: the rule is broken
      const [attribute, isNegated] = meaning
      return this.#constraint(map, path, key, { attribute, isNegated, path: [] })
    })
  }

  #condition(map: Readonly<Record<string, unknown>>, path: string): ConjunctionInit {
    const fields = new Fields(map, path, this.#unheard)
    const key = fields.text('key')
    const meaning = meaningOf(key)
    if (meaning === null) {
      if (whenKeyOf(key) === 'l7') this.#noteKey(fields.pathOf('key'), key)
      this.isBroken = true
      return { constraints: [] }
    }
    const constraints = ['values', 'notValues'].flatMap((list) =>
      fields.raw(list) === undefined
        ? []
        : this.#constraint(map, path, list, { ...meaning, isNegated: list === 'notValues' }),
    )
    if (constraints.length === 0 && !this.isBroken && meaning.attribute > Attribute.DESTINATION_PORT) {
      this.#notes.add('INVALID_VALUE', path, 'a condition without values', 'add values or notValues')
      this.isBroken = true
    }
    return { constraints }
  }

  #noteKey(path: string, key: string): void {
    const message = `there is no condition ${quote(key)}`
    this.#notes.add(
      'INVALID_VALUE',
      path,
      message,
      'write request.headers[name] or request.auth.claims[name]',
    )
  }

  // What may be dropped without narrowing: a whole positive list, or single members of a negative one.
  #constraint(
    map: Readonly<Record<string, unknown>>,
    path: string,
    key: string,
    meaning: { readonly attribute: Attribute; readonly path: readonly string[]; readonly isNegated: boolean },
  ): ConstraintInit[] {
    const { attribute, isNegated } = meaning
    const notes = isOfLayer4(attribute) ? this.#unheard : this.#notes
    const { values, isBroken } = readRequestValues(new Fields(map, path, notes), key, attribute, this.#home)
    if (isBroken) this.isBroken = true
    if (values.length === 0 || (isBroken && !isNegated)) return []
    return [{ attribute, isNegated, path: [...meaning.path], values: [...values] }]
  }
}

function isOfLayer4(attribute: Attribute): boolean {
  return attribute <= Attribute.DESTINATION_PORT && attribute !== Attribute.REMOTE_IP
}

function meaningOf(key: string): { readonly attribute: Attribute; readonly path: readonly string[] } | null {
  const attribute = KEYS.get(key)
  if (attribute !== undefined) return { attribute, path: [] }
  const header = HEADER_KEY.exec(key)?.[1]
  if (header !== undefined) return { attribute: Attribute.HEADER, path: [header.toLowerCase()] }
  const claim = CLAIM_KEY.exec(key)?.[1]
  return claim === undefined
    ? null
    : { attribute: Attribute.REQUEST_CLAIM, path: claim.slice(1, -1).split('][') }
}

/** A clause with one alternative that constrains nothing is true and says nothing. */
function clauseOf(alternatives: ConjunctionInit[]): ClauseInit[] {
  const isOpen = alternatives.some(({ constraints }) => constraints?.length === 0)
  return alternatives.length === 0 || isOpen ? [] : [{ alternatives }]
}
