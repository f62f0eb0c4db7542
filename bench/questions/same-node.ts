// SPDX-License-Identifier: Apache-2.0
// What does a connection between two pods of one node cost? Ours joins them in one process where a node allows it.
import { USUAL_PLACE } from '../place.ts'
import { bulkPart } from './bulk.ts'
import type { Question } from './question.ts'
import { requestsPart } from './requests.ts'

const PLACE = { ...USUAL_PLACE, isSameNode: true }

export const sameNodeQuestion: Question = {
  name: 'same-node',
  subjects: ['direct', 'sidestep', 'ztunnel'],
  isFresh: true,
  parts: [requestsPart(PLACE), bulkPart(1, PLACE)],
  prepare: () => Promise.resolve(),
}
