// SPDX-License-Identifier: Apache-2.0
// The admin API of the CA: join tokens, rotation of the root, revocation. Everything that changes something leaves an
// audit record, whether it succeeded or not.
import type { FastifyInstance } from 'fastify'
import { MeshError } from '../mesh/errors/mesh-error.ts'
import { isRefusal } from '../mesh/errors/refusal.ts'
import { MAX_TTL_SECONDS } from '../mesh/identity/lifetimes.ts'
import type { App } from './app.ts'
import { audited } from './audited.ts'
import { REVOCATION_REASONS, type RevocationReason } from './ca/crl.ts'
import { createJoinToken } from './ca/join-tokens.ts'

const MAX_IDENTITIES = 1024
const DEFAULT_TOKEN_SECONDS = 900
const MAX_TOKEN_SECONDS = 3600

const JOIN_TOKEN_BODY = {
  type: 'object',
  required: ['node', 'identities'],
  additionalProperties: false,
  properties: {
    node: { type: 'string' },
    identities: { type: 'array', items: { type: 'string' }, maxItems: MAX_IDENTITIES },
    lifetimeSeconds: { type: 'integer', minimum: 1, maximum: MAX_TOKEN_SECONDS },
  },
} as const

interface JoinTokenBody {
  readonly node: string
  readonly identities: readonly string[]
  readonly lifetimeSeconds?: number
}

const ADVANCE_BODY = {
  type: ['object', 'null'],
  additionalProperties: false,
  properties: { force: { type: 'boolean' } },
} as const

interface AdvanceBody {
  /** The operator vouches that every node has the new root. */
  readonly force?: boolean
}

const REVOCATION_BODY = {
  type: 'object',
  required: ['serialNumber', 'reason'],
  additionalProperties: false,
  properties: {
    serialNumber: { type: 'string' },
    reason: { type: 'string', enum: REVOCATION_REASONS },
    notAfter: { type: 'string' },
  },
} as const

interface RevocationBody {
  /** Decimal, as in the audit record of the signature. */
  readonly serialNumber: string
  readonly reason: RevocationReason
  /** End of the certificate, RFC 3339; after it the entry is dropped. Default: the latest that is possible. */
  readonly notAfter?: string
}

/** Adds the routes. */
export function addCaRoutes(server: FastifyInstance, app: App): void {
  server.get('/ca/roots', async (_request, reply) =>
    reply.type('text/plain').send(await app.authority.rootsPem()),
  )
  server.get('/ca/server-roots', async (_request, reply) =>
    reply.type('text/plain').send(await app.serverRootsPem()),
  )
  addRotation(server, app)
  addRevocations(server, app)
  addJoinTokens(server, app)
}

function addRotation(server: FastifyInstance, app: App): void {
  server.get('/ca/rotation', () => app.root.rotation())
  server.post('/ca/rotation/begin', () =>
    audited(app, 'rotation-begun', '', async () => await app.root.beginRotation()),
  )
  server.post<{ Body: AdvanceBody | null }>(
    '/ca/rotation/advance',
    { schema: { body: ADVANCE_BODY } },
    ({ body }) => {
      const isForced = body?.force === true
      return audited(app, 'rotation-advanced', isForced ? 'forced' : '', async () =>
        app.root.advanceRotation(isForced),
      )
    },
  )
  server.post('/ca/rotation/cancel', () =>
    audited(app, 'rotation-cancelled', '', async () => await app.root.cancelRotation()),
  )
}

function addRevocations(server: FastifyInstance, app: App): void {
  server.post<{ Body: RevocationBody }>(
    '/ca/revocations',
    { schema: { body: REVOCATION_BODY } },
    async ({ body }, reply) => {
      const { serialNumber, reason, notAfter } = body
      await audited(app, 'certificate-revoked', `${serialNumber} ${reason}`, async () => {
        const latestMs = app.nowMs + MAX_TTL_SECONDS * 1000
        const notAfterMs = notAfter === undefined ? latestMs : Date.parse(notAfter)
        if (Number.isNaN(notAfterMs)) throw new MeshError('CONFIG_INVALID', { detail: 'notAfter is no time' })
        await app.revocations.revoke(serialNumber, notAfterMs, reason)
        app.revocationFeed.wake()
      })
      return await reply.code(204).send()
    },
  )
  server.get('/ca/crl', async (_request, reply) => {
    const lists = await app.revocations.lists()
    if (lists.length === 0)
      throw new MeshError('CA_ELSEWHERE', { detail: 'revocation lists are signed by the CA that signs' })
    return await reply.type('text/plain').send(lists.join(''))
  })
}

function addJoinTokens(server: FastifyInstance, app: App): void {
  server.get('/join-tokens', async () => {
    const tokens = await app.joinTokens.list()
    return tokens.map(({ secretHash: _, ...rest }) => rest)
  })
  server.post<{ Body: JoinTokenBody }>(
    '/join-tokens',
    { schema: { body: JOIN_TOKEN_BODY } },
    ({ body: { node, identities, lifetimeSeconds = DEFAULT_TOKEN_SECONDS } }) =>
      audited(app, 'join-token-made', `for node ${node}`, async (tell) => {
        const wanted = { node, allowedIdentities: identities, lifetimeMs: lifetimeSeconds * 1000 }
        const made = await createJoinToken(app.joinTokens, wanted, app.config.trustDomain, app.nowMs)
        if (isRefusal(made)) throw new MeshError(made.code, { detail: made.detail })
        tell(`${made.id} for node ${node}`)
        return made
      }),
  )
  server.delete<{ Params: { id: string } }>('/join-tokens/:id', async ({ params: { id } }, reply) => {
    await audited(app, 'join-token-revoked', id, async () => await app.joinTokens.revoke(id))
    return reply.code(204).send()
  })
}
