// SPDX-License-Identifier: Apache-2.0
// Loads everything that supervisor and data process will load and leaves it in the compile cache, then ends: a process
// that finds its code there needs no TypeScript stripper, which would cost about 12 MB per thread.
import { flushCompileCache } from 'node:module'
import '../mesh/discovery/discovery-client.ts'
import './background-worker.ts'
import '../mesh/control/controller-link.ts'
import './edges/edge-reporter.ts'
import './main.ts'
import '../mesh/snapshot/compact-journal.ts'
import '../mesh/snapshot/sealed-place.ts'
import './supervisor/enroll/cni/cni-agent.ts'
import './supervisor/enroll/start-pod-watch.ts'
import './supervisor/enroll/zds-client.ts'
import './supervisor/main.ts'
import './supervisor/supervisor.ts'
import './tracing/open-spans.ts'
import './worker.ts'

flushCompileCache()
