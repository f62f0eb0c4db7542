// SPDX-License-Identifier: Apache-2.0
// Calls URL so many times a second (RATE), each over a connection of its own, and writes how each request ended as
// caller.mjs does.
import { appendFileSync } from 'node:fs'
import { Agent, get } from 'node:http'

const REPORT = '/report/requests'
const TIMEOUT_MS = 8_000
const TICK_MS = 10
/** Beyond it the machine, not the mesh, is what is slow. */
const MOST_AT_ONCE = 200

const { URL: url = '', RATE = '1' } = process.env
const agent = new Agent({ keepAlive: false, maxSockets: Number.POSITIVE_INFINITY })
let underWay = 0
let lines = []

function call() {
  const startedMs = Date.now()
  let isTold = false
  const tell = (error) => {
    if (isTold) return
    isTold = true
    underWay--
    lines.push(JSON.stringify({ target: 'till', startedMs, tookMs: Date.now() - startedMs, error }))
  }
  underWay++
  const request = get(url, { agent, signal: AbortSignal.timeout(TIMEOUT_MS) }, (response) => {
    let text = ''
    response.setEncoding('utf8').on('data', (chunk) => {
      text += chunk
    })
    response.on('end', () =>
      tell(text.includes('marker-of-till') ? null : `answered ${JSON.stringify(text)}`),
    )
    response.on('error', (error) => tell(`${error.code} ${error.message}`))
  })
  request.on('error', (error) => tell(`${error.code} ${error.message}`))
}

let owed = 0
setInterval(() => {
  owed = Math.min(owed + (Number(RATE) * TICK_MS) / 1000, MOST_AT_ONCE)
  for (; owed >= 1 && underWay < MOST_AT_ONCE; owed--) call()
  if (lines.length === 0) return
  appendFileSync(REPORT, `${lines.join('\n')}\n`)
  lines = []
}, TICK_MS)
