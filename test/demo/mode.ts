// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { chooseMode, type ModeQuestions, probeUserNamespace, UNSHARE_ARGS } from '../../demo/mode.ts'

const questions = (answers: Partial<ModeQuestions>): ModeQuestions => ({
  isLoopbackForced: false,
  isInUserNamespace: false,
  isRoot: false,
  probeNetwork: () => 'unshare: not permitted',
  probeUserNamespace: () => 'unshare is not installed',
  ...answers,
})
const works = (): string => ''

t.test('the best mode the machine allows is chosen, and what is missing is told', async (t) => {
  for (const [name, answers, expected] of [
    ['root', { isRoot: true, probeNetwork: works }, { mode: 'netns', privilege: 'root', restartUnder: null }],
    [
      'a user with unshare',
      { probeUserNamespace: works },
      { mode: 'netns', privilege: 'user namespace', restartUnder: UNSHARE_ARGS, missing: [] },
    ],
    [
      'root without capabilities but with unshare',
      { isRoot: true, probeUserNamespace: works },
      { mode: 'netns', privilege: 'user namespace', restartUnder: UNSHARE_ARGS },
    ],
    [
      'inside the user namespace',
      { isRoot: true, isInUserNamespace: true, probeNetwork: works },
      { mode: 'netns', privilege: 'user namespace', restartUnder: null },
    ],
    [
      'nothing works',
      {},
      {
        mode: 'loopback',
        privilege: 'nothing',
        restartUnder: null,
        missing: ['not root: unshare: not permitted', 'unshare is not installed'],
      },
    ],
    [
      'loopback asked for',
      { isLoopbackForced: true, probeNetwork: works },
      { mode: 'loopback', restartUnder: null, missing: ['loopback mode was asked for'] },
    ],
  ] as const)
    t.match(chooseMode(questions(answers)), expected, name)
})

t.test('a user namespace that fails is not tried again for ever', async (t) => {
  const probeAgain = (): string => t.fail('asked again') as unknown as string // as: never used
  const choice = chooseMode(questions({ isInUserNamespace: true, probeUserNamespace: probeAgain }))
  t.match(choice, { mode: 'loopback', restartUnder: null })
})

t.test('unshare that cannot start the probe says so in one line', async (t) => {
  t.match(
    probeUserNamespace(['/nonexistent/probe']),
    /^(in a user namespace: unshare: |the program unshare).*$/,
  )
})
