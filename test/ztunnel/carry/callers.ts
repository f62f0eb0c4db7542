// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { workloadFacts } from '../../../mesh/model/workload-facts.ts'
import { Callers } from '../../../ztunnel/carry/callers.ts'
import { meshOf, workload } from '../../support/mesh.ts'

const state = meshOf(`workloads:\n- ${workload('front', '10.0.0.1', '')}\n`, 1)
const [first] = state.workloads
if (first === undefined) throw new Error('no workload')
const FRONT = workloadFacts(first)

t.test('an address is asked for once, and all who wait hear the answer', async (t) => {
  const [asked, heard]: [string[], unknown[]] = [[], []]
  const callers = new Callers((ip) => asked.push(ip))
  const waiter = { onCaller: (workload: unknown) => heard.push(workload) }
  t.equal(callers.get('10.0.0.1'), undefined)
  t.ok(callers.request('10.0.0.1', waiter))
  t.ok(callers.request('10.0.0.1', { ...waiter }))
  t.same(asked, ['10.0.0.1'])
  callers.learn('10.0.0.1', FRONT)
  t.equal(heard.length, 2)
  t.ok(heard.every((each) => each === FRONT))
  t.equal(callers.get('10.0.0.1'), FRONT)
  callers.learn('10.0.0.2', null)
  t.equal(callers.get('10.0.0.2'), null, 'that nobody has it is an answer too')
})

t.test('a new model voids the answers and repeats the questions', async (t) => {
  const asked: string[] = []
  const callers = new Callers((ip) => asked.push(ip))
  callers.learn('10.0.0.1', FRONT)
  callers.request('10.0.0.2', { onCaller() {} })
  callers.invalidate()
  t.equal(callers.get('10.0.0.1'), undefined)
  t.same(asked, ['10.0.0.2', '10.0.0.2'])
})

t.test('addresses and waiters are bounded', async (t) => {
  let askedCount = 0
  const callers = new Callers(() => askedCount++)
  let takenCount = 0
  const ask = (ip: string): void => {
    if (callers.request(ip, { onCaller() {} })) takenCount++
  }
  for (let index = 0; index < 5000; index++) ask(`a${index}`)
  t.same([takenCount, askedCount], [4096, 4096])
  takenCount = 1 // the first one is still waiting
  for (let index = 0; index < 2000; index++) ask('a0')
  t.same([takenCount, askedCount], [1000, 4096])
  for (let index = 0; index <= 4096; index++) callers.learn(`a${index}`, null)
  t.equal(callers.get('a0'), undefined, 'the oldest answer is forgotten')
  t.equal(callers.get('a4096'), null)
})
