// SPDX-License-Identifier: Apache-2.0
// The route `/capture`: the payload of one pod as a pcapng file that grows while its reader listens.
import { type AdminAnswer, type AdminRoutes, type AdminStream, text } from '../../mesh/admin/admin-answers.ts'
import type { App } from '../app.ts'

/** Longest capture, seconds. */
export const MAX_CAPTURE_SECONDS = 3600
/** Largest file of a capture. */
export const MAX_CAPTURE_BYTES = 1_073_741_824
/** Of who asks for a capture, in the log. */
const MAX_WHO_LENGTH = 200
const USAGE = 'usage: /capture?pod=<namespace>/<name>&by=<who asks>&seconds=<number>&bytes=<number>\n'

/** `?pod=…&by=…&seconds=…&bytes=…` */
export function capture(
  app: Pick<App, 'config' | 'pods' | 'captures'>,
  query: URLSearchParams,
): AdminAnswer | AdminStream {
  if (!app.config.capture)
    return text(403, 'this node shows no payload: start its ztunnel with SIDESTEP_CAPTURE=true\n')
  const [name = '', by = ''] = ['pod', 'by'].map((each) => query.get(each) ?? '')
  const [seconds, maxBytes] = [Number(query.get('seconds')), Number(query.get('bytes'))]
  const isWithin = (value: number, most: number): boolean =>
    Number.isInteger(value) && value > 0 && value <= most
  if (by === '' || !isWithin(seconds, MAX_CAPTURE_SECONDS) || !isWithin(maxBytes, MAX_CAPTURE_BYTES))
    return text(400, USAGE)
  const found = app.pods.filter((pod) => name === pod.name || name === `${pod.namespace}/${pod.name}`)
  const [pod] = found
  if (pod === undefined || found.length > 1)
    return text(404, `${found.length === 0 ? 'no pod' : 'more than one pod'} of that name is served here\n`)
  if (app.captures.isRunning) return text(503, 'a capture runs already: one at a time\n')
  const asked = { pod, seconds, maxBytes, by: by.slice(0, MAX_WHO_LENGTH) }
  return { type: 'application/x-pcapng', open: (sink) => app.captures.open(asked, sink) }
}

/** Routes of the socket. */
export const captureRoutes: AdminRoutes<App> = { '/capture': { method: 'GET', answer: capture } }
