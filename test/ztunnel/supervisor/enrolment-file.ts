// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { isRefusal } from '../../../mesh/errors/refusal.ts'
import { parseEnrolment } from '../../../ztunnel/supervisor/enrolment-file.ts'
import { startCpuTime } from '../../support/cpu-time.ts'

const NAMES = 'uid: u, name: n, namespace: shop, serviceAccount: s'
const mistakesOf = (text: string): readonly string[] => {
  const parsed = parseEnrolment(text, 'f')
  if (!isRefusal(parsed)) return []
  if (parsed.code !== 'ENROLMENT_INVALID') throw new Error(parsed.code)
  return parsed.detail.split('\n')
}

t.test('pods with and without a namespace are read', async (t) => {
  const text = `# of this node
pods:
- {${NAMES}, netns: /run/netns/n}
- uid: v
  name: "5"
  namespace: shop
  serviceAccount: s
  address: "fd00::1"
`
  t.same(parseEnrolment(text, 'f'), [
    { uid: 'u', name: 'n', namespace: 'shop', serviceAccount: 's', netns: '/run/netns/n', address: null },
    { uid: 'v', name: '5', namespace: 'shop', serviceAccount: 's', netns: null, address: 'fd00::1' },
  ])
  t.same(parseEnrolment('pods: []', 'f'), [])
})

t.test('each mistake has its line, its pod and its field', async (t) => {
  for (const [text, ...expected] of [
    ['', 'f: pods: required field is missing'],
    ['# nothing\n', 'f: pods: required field is missing'],
    ['{}', 'f:1:1: pods: required field is missing'],
    ['[]', 'f:1:1: expected a map, found a list'],
    ['pods: {}', 'f:1:7: pods: expected a list, found a map'],
    ['pods: ~', 'f:1:1: pods: required field is missing'],
    ['pods: []\nsop: []', 'f:2:1: sop: unknown field'],
    ['pods:\n- x', 'f:2:3: pods[0]: expected a map, found text "x"'],
    [`pods:\n- {${NAMES}}`, 'f:2:3: pods[0]: exactly one of netns and address is needed'],
    [
      `pods:\n- {${NAMES}, netns: /n, address: 10.0.0.1}`,
      'f:2:3: pods[0]: exactly one of netns and address is needed',
    ],
    [`pods:\n- {${NAMES}, netns: ~}`, 'f:2:3: pods[0]: exactly one of netns and address is needed'],
    [`pods:\n- {address: cart, ${NAMES}}`, 'f:2:13: pods[0].address: must be an IP address'],
    [`pods:\n- {address: "", ${NAMES}}`, 'f:2:13: pods[0].address: must not be empty'],
    [`pods:\n- {labels: x, ${NAMES}, netns: /n}`, 'f:2:4: pods[0].labels: unknown field'],
    [`pods:\n- {__proto__: x, ${NAMES}, netns: /n}`, 'f:2:4: pods[0].__proto__: unknown field'],
    [
      `pods:\n- {${NAMES.replace('u,', '5,')}, netns: /n}`,
      'f:2:9: pods[0].uid: expected text, found the number 5',
    ],
    [`pods:\n- {${NAMES.replace('u,', '"",')}, netns: /n}`, 'f:2:9: pods[0].uid: must not be empty'],
    [
      `pods:\n- {${NAMES.replace('u,', '[u],')}, netns: /n}`,
      'f:2:9: pods[0].uid: expected text, found a list',
    ],
    [
      `pods:\n- {${NAMES}, netns: /n}\n- {${NAMES}, netns: /m}`,
      'f:3:3: pods[1].uid: another pod of the file has this uid',
    ],
    [`pods:\n- {netns: /n, netns: /m, ${NAMES}}`, 'f:2:15: pods[0].netns: the key stands twice in this map'],
    [
      'pods:\n- {uid: u, netns: /n}\n- {uid: v, address: 5}',
      'f:2:3: pods[0].name: required field is missing',
      'f:3:21: pods[1].address: expected text, found the number 5',
    ],
  ] as const) {
    const mistakes = mistakesOf(text)
    for (const each of expected) t.ok(mistakes.includes(each), `${text}: ${mistakes.join(' | ')}`)
  }
})

t.test('one mistake refuses the whole file', async (t) => {
  t.ok(isRefusal(parseEnrolment(`pods:\n- {${NAMES}, netns: /n}\n- {uid: v}`, 'f')))
  t.ok(isRefusal(parseEnrolment(`pods: [{${NAMES}, netns: /n}]\nmore: *x`, 'f')), 'also outside of the list')
  t.ok(isRefusal(parseEnrolment('pods: []\n---\npods: []', 'f')))
})

t.test('hostile text is refused in bounded time and words', async (t) => {
  const pod = (i: number): string => `- {uid: u${i}, name: n, namespace: s, serviceAccount: s, netns: /n${i}}`
  const pods = (count: number): string =>
    `pods:\n${Array.from({ length: count }, (_, i) => pod(i)).join('\n')}`
  t.equal((parseEnrolment(pods(4096), 'f') as unknown[]).length, 4096) // as: a list
  t.match(mistakesOf(pods(4097)), [/^f:4098:3: pods\[4096\]: more than 4096 pods$/])
  t.match(mistakesOf('x'.repeat(4 * 1024 * 1024 + 1)), [/over 4194304 bytes/])
  for (const [name, text] of [
    ['deep lists', `pods: ${'['.repeat(200_000)}`],
    ['deep maps', '{a: '.repeat(100_000)],
    ['many keys', `${Array.from({ length: 30_000 }, (_, i) => `k${i}: 1`).join('\n')}`],
    ['many mistakes', `pods:\n${'- {a: 1}\n'.repeat(4000)}`],
    ['anchors', 'pods: &x [*x, *x]'],
    ['a long key', `${'k'.repeat(1_000_000)}: 1`],
    ['bytes', 'pods: \u0000\ufffe'],
  ] as const) {
    const cpuMs = startCpuTime()
    const mistakes = mistakesOf(text)
    t.ok(mistakes.length > 0 && mistakes.length <= 101, `${name}: ${mistakes.length}`)
    t.ok(mistakes.join().length < 20_000, `${name}: ${mistakes.join().length} characters`)
    const tookMs = cpuMs()
    t.ok(tookMs < 4000, `${name}: ${Math.round(tookMs)} ms`)
  }
})
