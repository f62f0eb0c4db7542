// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { MeshState } from '../../../mesh/model/mesh-state.ts'
import { NewInstances } from '../../../waypoint/model/sibling-instances.ts'
import { meshOf, workload } from '../../support/mesh.ts'

/** Instances of the waypoint; those with a `-` are not healthy. */
function mesh(...names: readonly string[]): MeshState {
  const own = 'services: {"shop/wp.shop": {}}'
  const line = (name: string, index: number): string => {
    const status = name.startsWith('-') ? ', status: Unhealthy' : ''
    return `- ${workload(name.replace('-', ''), `10.0.0.${index + 2}`, `${own}${status}`)}`
  }
  return meshOf(`
workloads:
- ${workload('client', '10.0.0.1')}
${names.map(line).join('\n')}
services:
- {name: wp, namespace: shop, hostname: wp.shop, vips: [], ports: {15008: 15008}}
`)
}

/** What is due after each of these in turn. */
function partsOf(...states: readonly MeshState[]): readonly number[] {
  const instances = new NewInstances()
  return states.map((state) => {
    const own = state.workloads.find(({ name }) => name === 'w0')
    if (own === undefined) throw new Error('no waypoint')
    return instances.partFor(state, own)
  })
}

t.test('who is new is due as much as everybody else has', async (t) => {
  t.same(partsOf(mesh('w0', 'w1')), [0], 'at the start nobody is')
  t.same(partsOf(mesh('w0', 'w1'), mesh('w0', 'w1', 'w2'), mesh('w0', 'w1', 'w2')), [0, 1 / 3, 0])
  t.same(partsOf(mesh('w0'), mesh('w0', 'w1', 'w2', 'w3')), [0, 3 / 4])
  t.same(partsOf(mesh('w0', 'w1'), mesh('w0', 'w2')), [0, 1 / 2], 'one in place of another')
  t.same(partsOf(mesh('w0', 'w1'), mesh('w0')), [0, 0])
})

t.test('a new one counts when it is healthy; one that was ill for a while is not new', async (t) => {
  t.same(partsOf(mesh('w0'), mesh('w0', '-w1'), mesh('w0', 'w1')), [0, 0, 1 / 2])
  t.same(partsOf(mesh('w0', 'w1'), mesh('w0', '-w1'), mesh('w0', 'w1')), [0, 0, 0])
  t.same(partsOf(mesh('w0', 'w1'), mesh('w0'), mesh('w0', 'w1')), [0, 0, 1 / 2], 'it had gone')
  t.same(partsOf(mesh('-w0', 'w1'), mesh('w0', 'w1')), [0, 0], 'nobody leaves for oneself')
})
