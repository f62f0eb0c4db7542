// SPDX-License-Identifier: Apache-2.0
// The admin API of the waypoint: what it serves, whom it knows, how its endpoints fare.
import { type AdminRoutes, json, text } from '../mesh/admin/admin-answers.ts'
import { systemClock } from '../mesh/runtime/clock.ts'
import type { App } from './app.ts'
import { formatMetrics } from './metrics.ts'

const ready: AdminRoutes<App>[string] = {
  method: 'GET',
  answer: (app) => {
    const pending = app.pending()
    if (app.isDraining) return text(503, 'draining\n')
    return pending.length === 0 ? text(200, 'ready\n') : text(503, `waiting for: ${pending.join(', ')}\n`)
  },
}

const metrics: AdminRoutes<App>[string] = {
  method: 'GET',
  answer: async (app) => text(200, formatMetrics(app, await app.workers.report(), systemClock.nowMs)),
}

/** What everybody may see on the status port. */
export const statusRoutes: AdminRoutes<App> = { '/ready': ready, '/metrics': metrics }

/** What the user of the process may see and do. */
export const adminRoutes: AdminRoutes<App> = {
  '/ready': ready,
  '/metrics': metrics,
  /** Who it is, as the CLI asks of every node. */
  '/node': {
    method: 'GET',
    answer: ({ config: { podNamespace, podName } }) => json({ node: `${podNamespace}/${podName}` }),
  },
  '/clusters': {
    method: 'GET',
    answer: async (app) =>
      json((await app.workers.report()).map(({ clusters }, worker) => ({ worker, clusters }))),
  },
  '/status': {
    method: 'GET',
    answer: async (app) => {
      const { gatewayName, podName, podNamespace } = app.config
      const workers = await app.workers.report()
      return json({
        pid: process.pid,
        ...{ identity: app.identity, gateway: gatewayName, pod: `${podNamespace}/${podName}` },
        pending: app.pending(),
        discovery: app.discoveryStatus(),
        workers: workers.map(({ tunnels, exchanges }) => ({ tunnels, exchanges })),
        certificates: app.secrets.list().map(({ identity, state }) => ({ identity, state })),
      })
    },
  },
  '/records': { method: 'GET', answer: (app) => text(200, `${app.records.recent().join('\n')}\n`) },
  /** Requests as they end: RequestTaps.answer. */
  '/tap': { method: 'GET', answer: (app, query) => app.taps.answer(query) },
  '/upgrade': {
    method: 'POST',
    answer: async (app) => {
      const refusal = await app.upgrades.ask()
      return refusal === null ? text(200, 'the next generation starts\n') : text(409, `${refusal}\n`)
    },
  },
}
