// SPDX-License-Identifier: Apache-2.0
// Entry of a reactor worker.
import { isMainThread } from 'node:worker_threads'
import { ZtunnelWorker } from './ztunnel-worker.ts'

// The warm-up imports this file only to have it in the compile cache.
if (!isMainThread) new ZtunnelWorker().run()
