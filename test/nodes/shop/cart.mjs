// SPDX-License-Identifier: Apache-2.0
// HTTP in front, Redis behind: every request counts there.
import { createServer } from 'node:http'
import './end-late.mjs'
import { withRedis } from './with-redis.mjs'

const REDIS = 'redis://redis:6379'
const TIMEOUT_MS = 6_000

createServer(async (request, response) => {
  if (request.url === '/ready') return response.end('ready\n')
  try {
    const count = await withRedis(REDIS, TIMEOUT_MS, async (redis) => {
      await redis.set('cart', 'marker-of-redis')
      return await redis.incr('visits')
    })
    response.end(`marker-of-cart ${count}\n`)
  } catch (error) {
    response.writeHead(503).end(`redis: ${error.code ?? ''} ${error.message}\n`)
  }
}).listen(Number(process.env.PORT))
