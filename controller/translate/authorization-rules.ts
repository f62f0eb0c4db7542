// SPDX-License-Identifier: Apache-2.0
// Rules of an AuthorizationPolicy for layer 4. A rule is `to` AND `from` AND every `when`; each of the first two is an
// OR of entries. What needs layer 7 or cannot be read is never guessed: where a match allows, it matches nothing; where
// a match denies, it matches whatever it might have meant.
import type { MessageInitShape } from '@bufbuild/protobuf'
import { nearest } from '../../mesh/model/finding.ts'
import type { RuleSchema } from '../../proto/generated/istio/authorization_pb.js'
import { type MatchInit, readValues } from './authorization-values.ts'
import { Fields, isMap } from './fields.ts'
import {
  type FieldMeaning,
  OPERATION_FIELDS,
  PLAIN_WHEN_KEYS,
  SOURCE_FIELDS,
  whenKeyOf,
} from './l7-detection.ts'
import { quote } from './notes.ts'

export type RuleInit = MessageInitShape<typeof RuleSchema>

/** Fields of a rule. */
export const RULE_FIELDS = ['from', 'to', 'when']
/** Fields of one condition of `when`. */
export const CONDITION_FIELDS = ['key', 'values', 'notValues']

/** One entry of `from`, `to` or `when`. */
interface Part {
  /** Layer 4 of it: never narrower than the entry, and exactly the entry where nothing of it was noted. */
  readonly match: MatchInit
  readonly needsL7: boolean
}

/** A rule as it was read. */
export interface ReadRule {
  readonly to: readonly Part[]
  readonly from: readonly Part[]
  readonly when: readonly Part[]
  /** Something of it could not be read, and was noted. */
  readonly isBroken: boolean
}

/** What a policy's rules come to. */
export interface SplitRules {
  /** Decided by a ztunnel as written. */
  readonly exact: readonly RuleInit[]
  /** What cannot be decided at layer 4: never narrower than it was written. */
  readonly undecided: readonly RuleInit[]
  readonly isBroken: boolean
}

/** Reads `spec.rules`; the mistakes are noted. */
export function readRules(spec: Fields, home: string): { rules: ReadRule[]; isBroken: boolean } {
  const before = spec.notes.errors
  const rules = spec.list('rules').map(({ value, path }) => {
    const errors = spec.notes.errors
    if (!isMap(value)) spec.notes.add('WRONG_TYPE', path, 'expected a map', 'write from, to and when here')
    const rule = new Fields(isMap(value) ? value : {}, path, spec.notes)
    rule.refuseUnknown(RULE_FIELDS)
    const to = readEntries(rule, 'to', 'operation', OPERATION_FIELDS, home)
    const from = readEntries(rule, 'from', 'source', SOURCE_FIELDS, home)
    const when = readList(rule, 'when', (condition) => readCondition(condition, home))
    return { to, from, when, isBroken: spec.notes.errors > errors }
  })
  return { rules, isBroken: spec.notes.errors > before && rules.length === 0 }
}

/** For ALLOW: what is exact may allow; what is broken allows nothing; what needs layer 7 is undecided. */
export function splitForAllow(rules: readonly ReadRule[]): SplitRules {
  const readable = rules.filter(({ isBroken }) => !isBroken)
  return {
    exact: readable.flatMap(exactPart),
    undecided: readable.flatMap(undecidedPart),
    isBroken: readable.length < rules.length,
  }
}

/** For DENY: what is broken denies as much as it might have meant. */
export function splitForDeny(rules: readonly ReadRule[]): SplitRules {
  return {
    exact: rules.flatMap(exactPart),
    undecided: rules.flatMap(undecidedPart),
    isBroken: rules.some(({ isBroken }) => isBroken),
  }
}

/** Everything that the rules might have meant, at layer 4. */
export function widest(rules: readonly ReadRule[]): RuleInit[] {
  return rules.map(({ to, from, when }) => ruleOf(to, from, when))
}

const isL4 = ({ needsL7 }: Part): boolean => !needsL7
const isL7 = ({ needsL7 }: Part): boolean => needsL7

/** The rule with those alternatives only that layer 4 can decide. */
function exactPart({ to, from, when }: ReadRule): RuleInit[] {
  if (when.some(isL7)) return []
  const [l4To, l4From] = [to.filter(isL4), from.filter(isL4)]
  const isImpossible = (to.length > 0 && l4To.length === 0) || (from.length > 0 && l4From.length === 0)
  return isImpossible ? [] : [ruleOf(l4To, l4From, when)]
}

/** The rest of the rule: every combination with a part of layer 7 in it. */
function undecidedPart({ to, from, when }: ReadRule): RuleInit[] {
  if (when.some(isL7)) return [ruleOf(to, from, when)]
  const [l7To, l7From] = [to.filter(isL7), from.filter(isL7)]
  const rules: RuleInit[] = l7From.length > 0 ? [ruleOf(to, l7From, when)] : []
  const l4From = from.filter(isL4)
  if (l7To.length > 0 && (from.length === 0 || l4From.length > 0)) rules.push(ruleOf(l7To, l4From, when))
  return rules
}

function ruleOf(to: readonly Part[], from: readonly Part[], when: readonly Part[]): RuleInit {
  // SPEC HBONE §9.4: `to`, then `from`, then one clause per `when`.
  return { clauses: [to, from, ...when.map((each) => [each])].flatMap(clauseOf) }
}

// A clause with one alternative that constrains nothing is true and says nothing. It must not be sent: receivers skip
// empty matches, and a clause of only such matches is false (SPEC HBONE §4.4).
function clauseOf(parts: readonly Part[]): { matches: MatchInit[] }[] {
  if (parts.length === 0 || parts.some(({ match }) => isEmptyMatch(match))) return []
  return [{ matches: parts.map(({ match }) => match) }]
}

function isEmptyMatch(match: MatchInit): boolean {
  return Object.values(match).every((list) => Array.isArray(list) && list.length === 0)
}

function readEntries(
  rule: Fields,
  key: string,
  inner: string,
  known: ReadonlyMap<string, FieldMeaning>,
  home: string,
): Part[] {
  return readList(rule, key, (entry) => {
    entry.refuseUnknown([inner])
    const fields = entry.fields(inner)
    fields.refuseUnknown([...known.keys()])
    if (fields.keys().length === 0) {
      const message = 'nothing is said here; it would mean everything'
      fields.notes.add('INVALID_VALUE', fields.path, message, `say what, or remove ${key}`)
    }
    return readAttributes(fields, known, home)
  })
}

function readAttributes(fields: Fields, known: ReadonlyMap<string, FieldMeaning>, home: string): Part {
  const match: MatchInit = {}
  let needsL7 = false
  for (const key of fields.keys()) {
    const meaning = known.get(key)
    if (meaning === undefined) continue // refused by whoever called
    if (meaning.layer === 7) needsL7 = true
    else Object.assign(match, readConstraint(fields, key, meaning, home))
  }
  return { match, needsL7 }
}

// What may be dropped without narrowing: a whole positive list, or single members of a negative one.
function readConstraint(
  fields: Fields,
  key: string,
  { attribute, isNegative }: Extract<FieldMeaning, { layer: 4 }>,
  home: string,
): MatchInit {
  const { match, isBroken } = readValues(fields, key, attribute, isNegative, home)
  return isBroken && !isNegative ? {} : match
}

function readCondition(condition: Fields, home: string): Part {
  condition.refuseUnknown(CONDITION_FIELDS)
  const key = condition.text('key')
  const attribute = whenKeyOf(key)
  if (attribute === 'l7') return { match: {}, needsL7: true }
  if (attribute === undefined) {
    const near = nearest(key, PLAIN_WHEN_KEYS)
    const fix = near === '' ? "use one of Istio's keys" : `did you mean ${quote(near)}?`
    condition.notes.add('INVALID_VALUE', condition.pathOf('key'), `there is no condition ${quote(key)}`, fix)
    return { match: {}, needsL7: false }
  }
  const keys = condition.keys().filter((each) => each === 'values' || each === 'notValues')
  if (keys.length === 0) {
    condition.notes.add(
      'INVALID_VALUE',
      condition.path,
      'a condition without values',
      'add values or notValues',
    )
  }
  const match: MatchInit = {}
  for (const each of keys) {
    const isNegative = each === 'notValues'
    Object.assign(match, readConstraint(condition, each, { layer: 4, attribute, isNegative }, home))
  }
  return { match, needsL7: false }
}

// An item that is none leaves a part behind that constrains nothing: dropping it would narrow a DENY.
function readList(rule: Fields, key: string, read: (entry: Fields) => Part): Part[] {
  return rule.list(key).map(({ value, path }) => {
    if (isMap(value)) return read(new Fields(value, path, rule.notes))
    rule.notes.add('WRONG_TYPE', path, 'expected a map', 'write a map here')
    return { match: {}, needsL7: false }
  })
}
