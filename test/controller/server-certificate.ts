// SPDX-License-Identifier: Apache-2.0
import { pino } from 'pino'
import t from 'tap'
import { ServerCertificate } from '../../controller/server-certificate.ts'
import { isRefusal } from '../../mesh/errors/refusal.ts'
import { createRootCertificate, generateKeyPair, parseCertificate } from '../../mesh/identity/pki.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { poll } from '../support/mesh-lab.ts'

const HOUR_MS = 3_600_000
const LOOK_MS = 10_000

async function openLab() {
  const clock = new ManualClock()
  const pair = await generateKeyPair()
  const ends = [clock.nowMs - HOUR_MS, clock.nowMs + 10_000 * HOUR_MS] as const
  const root = await createRootCertificate(pair, 'test', ...ends)
  const signer = {
    signers: async () => [{ certificatePem: root, privateKey: pair.privateKey }],
    rootsPem: async () => root,
  }
  const log = pino({ level: 'silent' })
  const certificate = await ServerCertificate.create({ signer, names: ['a'], clock, log })
  t.teardown(() => certificate.close())
  const renewed: string[] = []
  certificate.start(({ certificatePem }) => renewed.push(certificatePem))
  /** One look, to its end: the timer of the next one runs again. */
  const look = async (): Promise<void> => {
    clock.advance(LOOK_MS)
    await poll('the next look', () => clock.pendingCount === 1 || null)
  }
  const isValid = (): boolean => {
    const facts = parseCertificate(certificate.identity.certificatePem)
    if (isRefusal(facts)) throw new Error(facts.detail)
    return facts.notBeforeMs <= clock.nowMs && clock.nowMs < facts.notAfterMs
  }
  return { clock, renewed, look, isValid }
}

t.test('it is renewed at half life, and not before', async (t) => {
  const { clock, renewed, look, isValid } = await openLab()
  await look()
  t.equal(renewed.length, 0)
  clock.jump(12 * HOUR_MS)
  await look()
  t.equal(renewed.length, 1)
  t.ok(isValid())
})

t.test('a clock that goes ahead and is set right again: nodes are shown what is valid', async (t) => {
  const { clock, renewed, look, isValid } = await openLab()
  clock.jump(1_000 * HOUR_MS)
  await look()
  t.equal(renewed.length, 1)
  t.ok(isValid())
  clock.jump(-1_000 * HOUR_MS)
  t.notOk(isValid(), 'what was signed ahead is not valid yet')
  await look()
  t.equal(renewed.length, 2)
  t.ok(isValid())
  await look()
  t.equal(renewed.length, 2)
})
