// SPDX-License-Identifier: Apache-2.0
// The admin API of the controller: HTTP on a Unix socket that only its user may open.
import { chmod, mkdir, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import fastify, { type FastifyInstance } from 'fastify'
import { MeshError } from '../mesh/errors/mesh-error.ts'
import { REASONS, type ReasonCode } from '../mesh/errors/reasons.ts'
import { addCaRoutes } from './admin-ca.ts'
import { addObjectRoutes } from './admin-objects.ts'
import type { App } from './app.ts'
import { PROVISION_DUTY } from './provision/provision-waypoints.ts'
import { STATUS_DUTY } from './status/status-duty.ts'

const MAX_BODY_BYTES = 262_144

export class ControllerAdmin {
  readonly #server: FastifyInstance

  constructor(app: App) {
    this.#server = fastify({
      ...{ logger: false, bodyLimit: MAX_BODY_BYTES, forceCloseConnections: true },
      // A misspelt field is a mistake, not something to leave out; a text is no number.
      ajv: { customOptions: { removeAdditional: false, coerceTypes: false } },
    })
    this.#server.setErrorHandler((error, _request, reply) => {
      const { status, reason } = answerOf(error)
      void reply.code(status).send({ error: error instanceof Error ? error.message : String(error), reason })
    })
    this.#server.setNotFoundHandler((request, reply) => {
      void reply.code(404).send({ error: `no ${request.method} ${request.url}`, reason: 'REQUEST_INVALID' })
    })
    addReadRoutes(this.#server, app)
    addCaRoutes(this.#server, app)
    addObjectRoutes(this.#server, app)
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
  server.get('/leader', () => ({ isLeader: app.leader.fence !== null, fence: app.leader.fence }))
  server.get('/source', () => ({ ...app.store.state, objects: app.store.size }))
  server.get('/clients', () => app.delta.clients())
  /** Everything that somebody should look at: what could not be read, translated, or taken by a node. */
  server.get('/findings', () => ({
    mistakes: app.store.state.mistakes,
    findings: app.translation.findings,
    refused: app.delta.refused(),
  }))
  /** Who talks to whom, of the nodes that report to this replica; `?namespace=` of one side. */
  server.get<{ Querystring: { namespace?: string } }>(
    '/edges',
    { schema: { querystring: { type: 'object', properties: { namespace: { type: 'string' } } } } },
    ({ query }) => ({ edges: app.edges.list(query.namespace), dropped: app.edges.droppedCount }),
  )
  server.get('/provision', () => {
    const report = app.leader.report(PROVISION_DUTY)
    if (report !== undefined) return report
    throw new MeshError('REQUEST_INVALID', { detail: 'this controller provisions no waypoints' })
  })
  /** What statuses should say, what was written, and what could not be. */
  server.get('/status', () => {
    const report = app.leader.report(STATUS_DUTY)
    if (report !== undefined) return report
    throw new MeshError('REQUEST_INVALID', {
      detail: 'the configuration is no cluster: nobody reads a status',
    })
  })
  server.get('/policies', () => app.translation.enforcement)
  server.get('/published', () => ({
    workloads: [...app.translation.workloads.keys()],
    services: [...app.translation.services.keys()],
    authorizations: [...app.translation.authorizations.keys()],
  }))
}

/** The status and the reason code of what went wrong. */
function answerOf(error: unknown): { readonly status: number; readonly reason: ReasonCode } {
  if (error instanceof MeshError) {
    // A mistake in a request is the caller's: 503 would have it tried again.
    const status = error.code === 'CONFIG_INVALID' ? 400 : REASONS[error.code].httpStatus
    return { status, reason: error.code }
  }
  const status = error instanceof Error && 'statusCode' in error ? error.statusCode : undefined
  return typeof status === 'number' && status < 500
    ? { status, reason: 'REQUEST_INVALID' }
    : { status: 500, reason: 'INTERNAL' }
}
