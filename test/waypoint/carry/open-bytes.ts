// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { OpenBytesByTarget } from '../../../waypoint/carry/open-bytes.ts'

t.test('those of the target that changed are asked again, as long as they are open', async (t) => {
  const open = new OpenBytesByTarget()
  const asked: string[] = []
  const made = (authority: string, name: string) => ({
    authority,
    recheck() {
      asked.push(name)
      open.delete(this) // ended by it
    },
  })
  const [one, two, other] = [made('a:1', 'one'), made('a:1', 'two'), made('b:1', 'other')]
  for (const each of [one, two, other]) open.add(each)
  open.delete(two)
  open.onChanged('a:1')
  t.same(asked, ['one'])
  open.onChanged('a:1')
  open.onChanged('c:1')
  t.same(asked, ['one'])
  open.onChanged('b:1')
  t.same(asked, ['one', 'other'])
})
