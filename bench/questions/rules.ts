// SPDX-License-Identifier: Apache-2.0
// What does a connection cost when its policies have many rules, none of which is true of it?
import { USUAL_PLACE } from '../place.ts'
import type { Figures } from '../results.ts'
import { measureConnections } from './connections.ts'
import { RULE_COUNTS } from './metrics.ts'
import type { Question, QuestionPart } from './question.ts'

function part(ruleCount: number): QuestionPart {
  return {
    place: { ...USUAL_PLACE, ruleCount },
    async measure(subject, timing): Promise<Figures> {
      const { connectionsPerSecond, cpuMicros } = await measureConnections(subject, timing)
      return {
        [`connectionsPerSecond${ruleCount}`]: connectionsPerSecond ?? Number.NaN,
        [`cpuMicros${ruleCount}`]: cpuMicros ?? Number.NaN,
      }
    },
  }
}

export const rulesQuestion: Question = {
  name: 'rules',
  subjects: ['sidestep', 'ztunnel'],
  isFresh: true,
  parts: RULE_COUNTS.map(part),
  prepare: () => Promise.resolve(),
}
