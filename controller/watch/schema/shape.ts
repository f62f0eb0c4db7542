// SPDX-License-Identifier: Apache-2.0
// What a value may look like, and the check that says where it does not. The published schemas of these kinds
// (@kubernetes-models) are compiled validators of CRDs: they accept unknown fields, and name a broken `oneOf` instead of
// the field that broke it. So the fields we read, and their neighbours, are written down here.
import { nearest } from '../../../mesh/model/finding.ts'
import { isMap, own, quote, type RawMap, type ValueMistakes, type ValuePath } from '../value-mistakes.ts'

/** A value's form. Null is unset, as it is for Kubernetes. */
export type Shape =
  | { readonly type: 'any' }
  | { readonly type: 'text'; readonly oneOf: readonly string[] }
  | { readonly type: 'integer'; readonly min: number; readonly max: number }
  | { readonly type: 'flag' }
  /** A port by number or by name. */
  | { readonly type: 'port' }
  | { readonly type: 'list'; readonly items: Shape }
  | { readonly type: 'map'; readonly values: Shape }
  | FieldsShape

/** A map with known fields. */
export interface FieldsShape {
  readonly type: 'fields'
  readonly fields: Readonly<Record<string, Shape>>
  readonly required: readonly string[]
  /** What is told of a field beside these; null: it is nobody's mistake. */
  readonly unknown: string | null
}

export const ANY: Shape = { type: 'any' }
export const TEXT: Shape = { type: 'text', oneOf: [] }
export const TEXTS: Shape = { type: 'list', items: TEXT }
export const TEXT_MAP: Shape = { type: 'map', values: TEXT }
export const FLAG: Shape = { type: 'flag' }
export const PORT_NUMBER: Shape = { type: 'integer', min: 1, max: 65_535 }
export const PORT: Shape = { type: 'port' }

export const oneOf = (...values: readonly string[]): Shape => ({ type: 'text', oneOf: values })
export const integer = (min: number, max: number): Shape => ({ type: 'integer', min, max })
export const list = (items: Shape): Shape => ({ type: 'list', items })
export const mapOf = (values: Shape): Shape => ({ type: 'map', values })
export const fields = (
  known: Readonly<Record<string, Shape>>,
  ...required: readonly string[]
): FieldsShape => {
  return { type: 'fields', fields: known, required, unknown: 'unknown field' }
}
/** Fields of a policy, which translation does not take in part. */
export const policyFields = (
  known: Readonly<Record<string, Shape>>,
  ...required: readonly string[]
): FieldsShape => {
  const unknown = 'unknown field; what it may have meant to forbid is refused'
  return { type: 'fields', fields: known, required, unknown }
}
/** A map of which only these fields concern us. */
export const openFields = (known: Readonly<Record<string, Shape>>): FieldsShape => {
  return { type: 'fields', fields: known, required: [], unknown: null }
}

/** Notes what in `value` does not have the shape. The value's depth and size were bounded before. */
export function checkShape(value: unknown, shape: Shape, path: ValuePath, mistakes: ValueMistakes): void {
  if (value === undefined || value === null) return
  const { type } = shape
  if (type === 'text') checkText(value, shape.oneOf, path, mistakes)
  else if (type === 'integer') checkInteger(value, shape.min, shape.max, path, mistakes)
  else if (type === 'port') {
    if (typeof value !== 'string') checkShape(value, PORT_NUMBER, path, mistakes)
  } else if (type === 'flag') {
    if (typeof value !== 'boolean') mistakes.wrong(path, 'true or false', value)
  } else if (type === 'list') {
    if (!Array.isArray(value)) mistakes.wrong(path, 'a list', value)
    else for (const [index, item] of value.entries()) checkItem(item, shape.items, [...path, index], mistakes)
  } else if (type !== 'any') {
    if (!isMap(value)) mistakes.wrong(path, 'a map', value)
    else if (type === 'fields') checkFields(value, shape, path, mistakes)
    else {
      for (const [key, item] of Object.entries(value)) checkItem(item, shape.values, [...path, key], mistakes)
    }
  }
}

function checkInteger(
  value: unknown,
  min: number,
  max: number,
  path: ValuePath,
  mistakes: ValueMistakes,
): void {
  const isRight = typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max
  if (!isRight) mistakes.wrong(path, `a whole number from ${min} to ${max}`, value)
}

// Null as a field is an unset field; null as an item of a list is one that should not be there.
function checkItem(item: unknown, shape: Shape, path: ValuePath, mistakes: ValueMistakes): void {
  if (item === null && shape.type !== 'any') mistakes.wrong(path, 'a value', item)
  else checkShape(item, shape, path, mistakes)
}

function checkText(
  value: unknown,
  values: readonly string[],
  path: ValuePath,
  mistakes: ValueMistakes,
): void {
  if (typeof value !== 'string') mistakes.wrong(path, 'text', value)
  else if (values.length > 0 && !values.includes(value)) {
    const message = `expected one of ${values.join(', ')}, found ${quote(value)}`
    mistakes.add('error', path, message, nearest(value, values))
  }
}

function checkFields(value: RawMap, shape: FieldsShape, path: ValuePath, mistakes: ValueMistakes): void {
  for (const [key, item] of Object.entries(value)) {
    if (Object.hasOwn(shape.fields, key)) checkShape(item, shape.fields[key] ?? ANY, [...path, key], mistakes)
    else if (shape.unknown !== null) {
      mistakes.add('warning', [...path, key], shape.unknown, nearest(key, Object.keys(shape.fields)))
    }
  }
  for (const key of shape.required) {
    if (own(value, key) === undefined) mistakes.add('error', [...path, key], 'required field is missing')
  }
}
