// SPDX-License-Identifier: Apache-2.0
// Entry of a reactor worker. Does nothing but start it, so that the worker's code can be loaded without running.
import { ZtunnelWorker } from './ztunnel-worker.ts'

new ZtunnelWorker().run()
