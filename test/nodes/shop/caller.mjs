// SPDX-License-Identifier: Apache-2.0
// Calls every target all the time, each over a connection of its own, and writes how each request ended, one line each:
// {"target","startedMs","tookMs","error"}. TARGETS: names and URLs as JSON; an answer carries the marker of its target.

import { lookup } from 'node:dns'
import { once } from 'node:events'
import { appendFileSync } from 'node:fs'
import { get } from 'node:http'
import { connect } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { Client, credentials } from '@grpc/grpc-js'
import { withRedis } from './with-redis.mjs'

const REPORT = '/report/requests'
const TIMEOUT_MS = 8_000
/** Between the end of one request and the next to the same target. */
const PAUSE_MS = 150
const STREAM = { method: '/shop.Catalog/List', count: 5 }
const UNARY = '/shop.Catalog/Get'

/** One way to ask for each kind of URL; each returns what was answered. */
const WAYS = { 'http:': askHttp, 'redis:': askRedis, 'grpc:': askGrpc, 'smtp:': askMail }

/** Any address of a name: the resolver library would always put one of the same network first. */
function lookupAny(name, options, done) {
  lookup(name, { ...options, all: true }, (error, found) => {
    const any = found?.[Math.floor(Math.random() * found.length)]
    if (error !== null || options.all) done(error, [any])
    else done(null, any.address, any.family)
  })
}

async function askHttp(url, signal) {
  const request = get(url, { agent: false, lookup: lookupAny, signal })
  const [response] = await once(request, 'response', { signal })
  let text = ''
  for await (const chunk of response.setEncoding('utf8')) text += chunk
  if (response.statusCode !== 200) throw new Error(`status ${response.statusCode}: ${text.trim()}`)
  return text
}

async function askRedis(url) {
  return await withRedis(url.href, TIMEOUT_MS, async (redis) => {
    await redis.set('front', 'marker-of-redis')
    return await redis.get('front')
  })
}

async function askGrpc(url) {
  const client = new Client(url.host, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 })
  const options = { deadline: Date.now() + TIMEOUT_MS }
  const same = (bytes) => bytes
  try {
    const one = await new Promise((resolve, reject) =>
      client.makeUnaryRequest(UNARY, same, same, Buffer.from('1'), options, (error, answer) =>
        error === null ? resolve(answer) : reject(error),
      ),
    )
    const stream = client.makeServerStreamRequest(
      STREAM.method,
      same,
      same,
      Buffer.from(`${STREAM.count}`),
      options,
    )
    const all = await stream.toArray()
    if (all.length !== STREAM.count) throw new Error(`${all.length} of ${STREAM.count} in the stream`)
    return `${one}`
  } finally {
    client.close()
  }
}

/** The server speaks first: nothing is sent before its greeting is here. */
async function askMail(url, signal) {
  const socket = connect({ host: url.hostname, port: Number(url.port), signal })
  let text = ''
  try {
    for await (const chunk of socket.setEncoding('utf8')) {
      const isGreeted = text.includes('\n')
      text += chunk
      if (!isGreeted && text.includes('\n')) socket.write('NOOP 1\r\n')
      if (text.endsWith('NOOP 1\r\n')) return text
    }
    throw new Error(`it closed after ${JSON.stringify(text)}`)
  } finally {
    socket.destroy()
  }
}

async function call(target, url) {
  const startedMs = Date.now()
  const error = await WAYS[url.protocol](url, AbortSignal.timeout(TIMEOUT_MS)).then(
    (text) => (text.includes('marker-of-') ? null : `answered ${JSON.stringify(text)}`),
    (reason) => `${reason?.code ?? ''} ${reason?.message ?? reason}`,
  )
  const line = { target, startedMs, tookMs: Date.now() - startedMs, error }
  appendFileSync(REPORT, `${JSON.stringify(line)}\n`)
}

for (const [target, url] of Object.entries(JSON.parse(process.env.TARGETS ?? '{}'))) {
  const ask = async () => {
    for (;;) {
      await call(target, new URL(url))
      await wait(PAUSE_MS)
    }
  }
  void ask()
}
