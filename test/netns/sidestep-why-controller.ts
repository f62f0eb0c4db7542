// SPDX-License-Identifier: Apache-2.0
// `sidestep why` where nodes follow a controller: one that has stopped, and one that revokes. Of nodes with a file: sidestep-why.ts.
import t from 'tap'
import { attempt, blames, isWell, seen, why } from '../support/ask-why.ts'
import { serialOf, startControlledLab, startCuttableLab } from '../support/controlled-lab.ts'
import { poll } from '../support/mesh-lab.ts'

t.setTimeout(180_000)

const CART_VIP = '10.96.0.10'

t.test('a controller that stopped is a risk: nodes go by what they know', async (t) => {
  const { lab, controller } = await startControlledLab(t)
  await isWell(t, lab, 'front', 'cart:80')
  const denied = await why(lab, 'batch', 'cart:80')
  t.match(denied, { exit: 1, code: 'POLICY_DENY', policy: 'shop/no-batch' })
  await controller.kill()
  const verdict = await poll('both nodes have lost it', async () => {
    const told = await why(lab, 'front', 'cart:80')
    return told.risks.length === 2 ? told : null
  })
  t.match(verdict, { exit: 0, outcome: 'allowed', cause: null })
  t.same(
    verdict.risks.map(({ code, hop, where }) => [code, hop, where]),
    [
      ['CONFIG_STALE', 'discovery', 'n1'],
      ['CONFIG_STALE', 'discovery', 'n2'],
    ],
  )
  for (const { fix } of verdict.risks) t.match(fix, /check the controller/)
  await controller.start()
  await poll('both follow it again', async () => {
    const { risks } = await why(lab, 'front', 'cart:80')
    return risks.length === 0 ? true : null
  })
})

t.test('of a certificate that is revoked, and no CA that gives another one', async (t) => {
  const { lab, controller, cut } = await startCuttableLab(t)
  await isWell(t, lab, 'front', 'cart:80')
  const open = lab.connect('front', CART_VIP, 91)
  await open.until('the greeting', ({ text }) => text.endsWith('\r\n'))
  cut()
  await controller.revoke(await serialOf(lab, 'front'))
  await open.until('the end', ({ isClosed }) => isClosed)
  await attempt(lab, 'front', CART_VIP, 80)
  await seen(lab, 'front', 'cart:80', 'CERT_REVOKED')
  const fault = { outcome: 'failing', code: 'CERT_REVOKED' } as const
  await blames(t, lab, ['front', 'cart:80'], fault, 'source', /give the workload a new one/)
})
