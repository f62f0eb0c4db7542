// SPDX-License-Identifier: Apache-2.0
// Calls TARGETS (names and URLs as JSON) in turn, so many times a second in all (RATE), each time over a connection of its
// own, and writes how each request ended as caller.mjs does, with the port it came from.
import { appendFileSync } from 'node:fs'
import { Agent, get } from 'node:http'

const REPORT = '/report/requests'
const TIMEOUT_MS = 8_000
const TICK_MS = 10
/**
 * A port for each request, so that its record can be found. Always the same target on one: the kernel gives a connection that is
 * redirected another port where one to another target still has it. Below those that the kernel gives to whoever asks for none.
 */
const [FIRST_PORT, PORTS] = [16_000, 16_000]
/** Beyond it the machine, not the mesh, is what is slow; the test sees it by the rate. */
const MOST_AT_ONCE = 200

const targets = Object.entries(JSON.parse(process.env.TARGETS ?? '{}'))
const agent = new Agent({ keepAlive: false, maxSockets: Number.POSITIVE_INFINITY })
let underWay = 0
let count = 0
let lines = []

function call() {
  const [target, url] = targets[count % targets.length]
  const localPort = FIRST_PORT + (count++ % PORTS)
  const startedMs = Date.now()
  let isTold = false
  const tell = (error) => {
    if (isTold) return
    isTold = true
    underWay--
    lines.push(JSON.stringify({ target, startedMs, tookMs: Date.now() - startedMs, error, port: localPort }))
  }
  underWay++
  const signal = AbortSignal.timeout(TIMEOUT_MS)
  const request = get(url, { agent, localPort, signal }, (response) => {
    let text = ''
    response.setEncoding('utf8').on('data', (chunk) => {
      text += chunk
    })
    response.on('end', () =>
      tell(text.includes(`marker-of-${target}`) ? null : `answered ${JSON.stringify(text)}`),
    )
    response.on('error', (error) => tell(`${error.code} ${error.message}`))
  })
  request.on('error', (error) => tell(`${error.code} ${error.message}`))
}

let owed = 0
setInterval(() => {
  owed = Math.min(owed + (Number(process.env.RATE ?? 1) * TICK_MS) / 1000, MOST_AT_ONCE)
  for (; owed >= 1 && underWay < MOST_AT_ONCE; owed--) call()
  if (lines.length === 0) return
  appendFileSync(REPORT, `${lines.join('\n')}\n`)
  lines = []
}, TICK_MS)
