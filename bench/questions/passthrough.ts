// SPDX-License-Identifier: Apache-2.0
// What does a connection cost whose destination is not in the mesh, so that it is carried without a tunnel?
import { USUAL_PLACE } from '../place.ts'
import { bulkPart } from './bulk.ts'
import type { Question } from './question.ts'
import { requestsPart } from './requests.ts'

const PLACE = { ...USUAL_PLACE, isServerPlain: true }

export const passthroughQuestion: Question = {
  name: 'passthrough',
  subjects: ['direct', 'sidestep', 'ztunnel'],
  isFresh: true,
  parts: [requestsPart(PLACE), bulkPart(1, PLACE)],
  prepare: () => Promise.resolve(),
}
