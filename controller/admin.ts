// SPDX-License-Identifier: Apache-2.0
// The admin API of the controller: HTTP on a Unix socket that only its user may open.
import { chmod, mkdir, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import fastify, { type FastifyInstance } from 'fastify'
import { MeshError } from '../mesh/errors/mesh-error.ts'
import { REASONS } from '../mesh/errors/reasons.ts'
import { isRefusal } from '../mesh/errors/refusal.ts'
import type { App } from './app.ts'
import { createJoinToken } from './ca/join-tokens.ts'

const MAX_BODY_BYTES = 262_144
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

export class ControllerAdmin {
  readonly #server: FastifyInstance

  constructor(app: App) {
    this.#server = fastify({ logger: false, bodyLimit: MAX_BODY_BYTES, forceCloseConnections: true })
    this.#server.setErrorHandler((error, _request, reply) => {
      const status = error instanceof MeshError ? REASONS[error.code].httpStatus : statusOf(error)
      void reply.code(status).send({ error: error instanceof Error ? error.message : String(error) })
    })
    addReadRoutes(this.#server, app)
    addCaRoutes(this.#server, app)
  }

  /** Opens the socket, replacing one that an earlier process left. */
  async listen(path: string): Promise<void> {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    await rm(path, { force: true })
    await this.#server.listen({ path })
    await chmod(path, 0o600)
  }

  async close(): Promise<void> {
    await this.#server.close()
  }
}

function addReadRoutes(server: FastifyInstance, app: App): void {
  server.get('/ready', (_request, reply) => {
    const pending = app.pending()
    return reply.code(pending.length === 0 ? 200 : 503).send({ pending })
  })
  server.get('/config', () => app.config)
  server.get('/listening', () => ({ port: app.port }))
  server.get('/source', () => ({ ...app.store.state, objects: app.store.size }))
  server.get('/clients', () => app.delta.clients())
  /** Everything that somebody should look at: what could not be read, translated, or taken by a node. */
  server.get('/findings', () => ({
    mistakes: app.store.state.mistakes,
    findings: app.translation.findings,
    refused: app.delta.refused(),
  }))
  server.get('/policies', () => app.translation.enforcement)
  server.get('/published', () => ({
    workloads: [...app.translation.workloads.keys()],
    services: [...app.translation.services.keys()],
    authorizations: [...app.translation.authorizations.keys()],
  }))
}

function addCaRoutes(server: FastifyInstance, app: App): void {
  server.get('/ca/roots', async (_request, reply) =>
    reply.type('text/plain').send(await app.authority.rootsPem()),
  )
  server.get('/ca/rotation', () => app.authority.rotation())
  server.post('/ca/rotation/begin', () => app.authority.beginRotation())
  server.post('/ca/rotation/advance', () => app.authority.advanceRotation(false))
  server.post('/ca/rotation/cancel', () => app.authority.cancelRotation())
  server.get('/join-tokens', async () => {
    const tokens = await app.joinTokens.list()
    return tokens.map(({ secretHash: _, ...rest }) => rest)
  })
  server.post<{ Body: JoinTokenBody }>(
    '/join-tokens',
    { schema: { body: JOIN_TOKEN_BODY } },
    async (request) => {
      const { node, identities, lifetimeSeconds = DEFAULT_TOKEN_SECONDS } = request.body
      const wanted = { node, allowedIdentities: identities, lifetimeMs: lifetimeSeconds * 1000 }
      const made = await createJoinToken(app.joinTokens, wanted, app.config.trustDomain, app.nowMs)
      if (isRefusal(made)) throw new MeshError(made.code, { detail: made.detail })
      return made
    },
  )
  server.delete<{ Params: { id: string } }>('/join-tokens/:id', async (request, reply) => {
    await app.joinTokens.revoke(request.params.id)
    return reply.code(204).send()
  })
}

function statusOf(error: unknown): number {
  const status = error instanceof Error && 'statusCode' in error ? error.statusCode : undefined
  return typeof status === 'number' ? status : 500
}
