// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { UNSERVED_KINDS, unservedFindings } from '../../../controller/translate/unserved-kinds.ts'
import { kindKey } from '../../../controller/watch/config-object.ts'
import { WATCHED_KINDS } from '../../../controller/watch/kinds.ts'
import { toObject, viewOf } from '../../support/yaml-objects.ts'

t.test('every kind that is read only to be answered has an answer, and no other', async (t) => {
  const unserved = WATCHED_KINDS.filter(({ isServed }) => !isServed).map(({ group, kind }) =>
    kindKey(group, kind),
  )
  t.same([...UNSERVED_KINDS.keys()].toSorted(), unserved.toSorted())
})

t.test('each object of such a kind gives one finding with what to do', async (t) => {
  const objects = WATCHED_KINDS.flatMap(({ group, kind, versions }) =>
    ['a', 'b'].map((name) =>
      toObject({ apiVersion: `${group}/${versions[0]}`, kind, metadata: { name, namespace: 'shop' } }),
    ),
  )
  const findings = unservedFindings(viewOf(objects))
  t.equal(findings.length, 2 * UNSERVED_KINDS.size)
  for (const { code, fix } of findings) {
    t.equal(code, 'KIND_NOT_SERVED')
    t.not(fix, '')
  }
})
