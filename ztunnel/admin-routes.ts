// SPDX-License-Identifier: Apache-2.0
// What the admin API answers (wire-protocols §7.1–7.2): readiness, configuration, explanations, connections,
// certificates, records, metrics, log level, drain.

import {
  type AdminAnswer,
  type AdminRoute,
  type AdminRoutes,
  json,
  text,
} from '../mesh/admin/admin-answers.ts'
import { dumpIdentity } from '../mesh/identity/certificate-view.ts'
import { parseIp } from '../mesh/net/address.ts'
import { LOG_LEVELS } from '../mesh/runtime/log-levels.ts'
import { certificateReports } from './admin-certificates.ts'
import { allConnections, generationRoutes } from './admin-drain.ts'
import { pairRoutes } from './admin-pairs.ts'
import type { App } from './app.ts'
import { captureRoutes } from './capture/capture-route.ts'
import { explainConnection } from './decide/explanation.ts'
import { eventRoutes } from './events/event-routes.ts'
import { formatMetrics } from './metrics.ts'

const certificates = (app: App): unknown => app.secrets.list().map(dumpIdentity)

function ready(app: App): AdminAnswer {
  const pending = app.pending()
  return pending.length === 0
    ? text(200, 'ready\n')
    : text(500, `not ready, pending: ${pending.join(', ')}\n`)
}

function configDump(app: App): AdminAnswer {
  const { workloads = [], services = [], policies = [], version = 0 } = app.model.state ?? {}
  return json({
    version: { model: version, node: process.version },
    config: app.config,
    source: app.sources.model.status(),
    findings: app.sources.model.findings,
    pods: app.pods,
    workloads,
    services,
    policies,
    certificates: certificates(app),
    revocations: { lists: app.revocations.status(), undecided: app.revocations.undecidedCount },
  })
}

/** `?pod=<namespace>/<name>&ip=…&port=…`: what would happen to a connection of a pod of this node, and why. */
function explain(app: App, query: URLSearchParams): AdminAnswer {
  const pod = app.pods.find(({ namespace, name }) => `${namespace}/${name}` === query.get('pod'))
  const ip = parseIp(query.get('ip') ?? '')
  const port = Number(query.get('port'))
  if (ip === undefined || !(port > 0 && port < 65_536)) {
    return text(400, 'usage: /explain?pod=<namespace>/<name>&ip=<address>&port=<number>\n')
  }
  const { state } = app.model
  const source =
    pod === undefined ? undefined : state?.ownWorkload(pod.namespace, pod.name, pod.serviceAccount)
  if (state === null || source === undefined) {
    return text(404, `${query.get('pod')} is no configured pod of this node\n`)
  }
  const { network, socks5 } = app.config
  return json(explainConnection(state, { source, ip, port, network, isSocks5Enabled: socks5 }))
}

/** How the loops fare since the last call, and how long the model took to be in force in all of them. */
async function workers(app: App): Promise<unknown> {
  const turns = await app.questions.ask('turns')
  const { workloads = [], services = [], policies = [], version = 0 } = app.model.state ?? {}
  return {
    model: {
      ...{ version, workloads: workloads.length, services: services.length, policies: policies.length },
      inForce: app.modelProgress.inForce,
    },
    workers: turns.map(({ worker, answer }) => ({ worker, ...answer })),
  }
}

function setLogLevel(app: App, query: URLSearchParams): AdminAnswer {
  const level = query.get('level')
  if (level !== null) {
    if (!LOG_LEVELS.some((each) => each === level)) return text(400, `levels: ${LOG_LEVELS.join(', ')}\n`)
    app.log.level = level
  }
  return text(200, `current log level is ${app.log.level}\n`)
}

function records(app: App, query: URLSearchParams): AdminAnswer {
  app.records.drain()
  const limit = Number(query.get('last') ?? '1000')
  const lines = app.records.recent()
  return text(200, lines.length === 0 ? '' : `${lines.slice(-limit).join('\n')}\n`)
}

function quit(app: App): AdminAnswer {
  void app.drain().then(() => process.kill(process.pid, 'SIGTERM'))
  return text(200, 'shutdown now\n')
}

async function metricsPage(app: App): Promise<AdminAnswer> {
  await app.drained.look()
  return text(200, formatMetrics(app))
}

async function edges(app: App): Promise<AdminAnswer> {
  await app.drained.look()
  return json([...app.workers.counters.edges().values()])
}

const metrics: AdminRoute<App> = { method: 'GET', answer: metricsPage }

/** What everybody may see who reaches this process: it names no key, and its page is short. */
export const statusRoutes: AdminRoutes<App> = {
  '/ready': { method: 'GET', answer: ready },
  '/metrics': metrics,
}

/** What who runs the node may see and do. */
export const adminRoutes: AdminRoutes<App> = {
  '/ready': { method: 'GET', answer: ready },
  '/config_dump': { method: 'GET', answer: configDump },
  '/explain': { method: 'GET', answer: explain },
  ...pairRoutes,
  ...eventRoutes,
  ...captureRoutes,
  ...generationRoutes,
  '/connections': { method: 'GET', answer: async (app) => json(await allConnections(app)) },
  '/certificates': { method: 'GET', answer: async (app) => json(await certificateReports(app)) },
  '/workers': { method: 'GET', answer: async (app) => json(await workers(app)) },
  '/edges': { method: 'GET', answer: edges },
  '/records': { method: 'GET', answer: records },
  '/metrics': metrics,
  '/logging': { method: 'POST', answer: setLogLevel },
  '/quitquitquit': { method: 'POST', answer: quit },
}
