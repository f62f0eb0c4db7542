// SPDX-License-Identifier: Apache-2.0
// Loads everything that supervisor and data process will load and leaves it in the compile cache, then ends.
import { flushCompileCache } from 'node:module'
import '../mesh/snapshot/compact-journal.ts'
import './background-worker.ts'
import './main.ts'
import './supervisor/main.ts'
import './supervisor/supervisor.ts'
import './tracing/open-spans.ts'
import './worker.ts'

flushCompileCache()
