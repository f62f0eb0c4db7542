// SPDX-License-Identifier: Apache-2.0
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { NodeCertificate } from '../../../mesh/control/node-certificate.ts'
import { MeshError } from '../../../mesh/errors/mesh-error.ts'
import type { CertificateIssuer } from '../../../mesh/identity/ca-client.ts'
import { certificateRequests } from '../../../mesh/identity/certificate-requests.ts'
import { EmbeddedAuthority } from '../../../mesh/identity/embedded-authority.ts'
import { openLog } from '../../../mesh/runtime/log.ts'
import { ManualClock } from '../../support/manual-clock.ts'

/** A real CA that takes a join token for one key, and whose answers may be lost. */
class JoinAuthority implements CertificateIssuer {
  readonly requests: string[] = []
  lostAnswers = 0
  readonly #authority: EmbeddedAuthority

  constructor(authority: EmbeddedAuthority) {
    this.#authority = authority
  }

  async issue(identity: string, csrPem: string, ttlSeconds: number): Promise<readonly string[]> {
    this.requests.push(csrPem)
    const chain = await this.#authority.issue(identity, csrPem, ttlSeconds)
    if (this.lostAnswers-- > 0)
      throw new MeshError('CERT_UNAVAILABLE', { detail: 'the CA did not answer in time' })
    return chain
  }
}

async function setUp(t: Test) {
  const directory = t.testdir()
  const clock = new ManualClock()
  const authority = await EmbeddedAuthority.open({
    ...{ directory: join(directory, 'ca'), trustDomain: 'cluster.local', clock },
  })
  const issuer = new JoinAuthority(authority)
  const state = join(directory, 'state')
  const open = (): NodeCertificate => {
    const node = new NodeCertificate({
      ...{ directory: state, nodeName: 'vm1', trustDomain: 'cluster.local', clock, random: () => 0.5 },
      issuerWith: () => issuer,
      rootsPem: async () => undefined,
      joinToken: async () => 'token',
      requests: certificateRequests,
      log: openLog('silent'),
    })
    t.teardown(() => node.close())
    return node
  }
  return { clock, issuer, state, request: join(state, 'join-request.json'), open }
}

async function until(condition: () => boolean, advance: () => void): Promise<void> {
  for (let turn = 0; turn < 100_000; turn++) {
    if (condition()) return
    if (turn % 100 === 99) advance()
    await new Promise<void>((resolve) => setImmediate(resolve))
  }
  throw new Error('the condition never held')
}

t.test('an answer that is lost: the node asks again with the same key, until it has joined', async (t) => {
  const { clock, issuer, state, request, open } = await setUp(t)
  issuer.lostAnswers = 2
  const node = open()
  await node.start()
  await until(
    () => node.status()?.state === 'Available',
    () => clock.advance(1_000),
  )
  t.equal(issuer.requests.length, 3)
  t.equal(new Set(issuer.requests).size, 1)
  await until(
    () => !existsSync(request),
    () => {},
  )
  const saved = join(state, 'node-certificate.json')
  t.equal(statSync(saved).mode & 0o777, 0o600)
  clock.advance(13 * 3_600_000) // past half its life
  await until(
    () => issuer.requests.length > 3,
    () => {},
  )
  t.not(issuer.requests.at(-1), issuer.requests[0], 'a renewal has a key of its own')
})

t.test('also when it was started anew in between; a damaged file costs the key, not the start', async (t) => {
  const { issuer, request, open } = await setUp(t)
  issuer.lostAnswers = 1
  const first = open()
  await first.start()
  await until(
    () => issuer.requests.length === 1 && issuer.lostAnswers === 0,
    () => {},
  )
  first.close()
  t.equal(statSync(request).mode & 0o777, 0o600)
  const kept = readFileSync(request)
  issuer.lostAnswers = 2
  const second = open()
  await second.start()
  await until(
    () => issuer.requests.length === 2,
    () => {},
  )
  second.close()
  t.equal(issuer.requests[1], issuer.requests[0])
  for (const damage of ['', '{}', kept.subarray(0, kept.length / 2), '{"owner":null}', '[]']) {
    const before = issuer.requests.length
    issuer.lostAnswers = 1
    writeFileSync(request, damage)
    const node = open()
    await node.start()
    await until(
      () => issuer.requests.length > before,
      () => {},
    )
    node.close()
    t.not(issuer.requests.at(-1), issuer.requests[0], JSON.stringify(String(damage)))
  }
})
