// SPDX-License-Identifier: Apache-2.0
// Entry of a reactor worker of the waypoint.
import { isMainThread } from 'node:worker_threads'
import { WaypointWorker } from './waypoint-worker.ts'

// The warm-up imports this file only to have it in the compile cache.
if (!isMainThread) new WaypointWorker().run()
