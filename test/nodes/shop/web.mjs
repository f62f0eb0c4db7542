// SPDX-License-Identifier: Apache-2.0
// HTTP that says whose it is and which pod answered: MARKER.
import { createServer } from 'node:http'
import { hostname } from 'node:os'
import './end-late.mjs'

createServer((_, response) => response.end(`${process.env.MARKER} ${hostname()}\n`)).listen(
  Number(process.env.PORT),
)
