// SPDX-License-Identifier: Apache-2.0
// Kubernetes' own label selectors: matchLabels and matchExpressions, all of which must hold.
import type { Fields } from './fields.ts'
import type { Labels } from './selectors.ts'

const OPERATORS = ['In', 'NotIn', 'Exists', 'DoesNotExist'] as const

/** True when the labels satisfy the selector. What cannot be read is satisfied by nothing. */
export function satisfies(selector: Fields, labels: Labels): boolean {
  const before = selector.notes.errors
  let isSatisfied = true
  for (const [key, value] of selector.textMap('matchLabels')) isSatisfied &&= labels[key] === value
  for (const expression of selector.items('matchExpressions')) {
    isSatisfied = satisfiesExpression(expression, labels) && isSatisfied
  }
  return isSatisfied && selector.notes.errors === before
}

function satisfiesExpression(expression: Fields, labels: Labels): boolean {
  const key = expression.text('key')
  const values = expression.texts('values').map(({ text }) => text)
  const value = Object.hasOwn(labels, key) ? labels[key] : undefined
  switch (expression.oneOf('operator', OPERATORS, null)) {
    case 'In':
      return value !== undefined && values.includes(value)
    case 'NotIn':
      return value === undefined || !values.includes(value)
    case 'Exists':
      return value !== undefined
    case 'DoesNotExist':
      return value === undefined
    case null:
      return false
  }
}
