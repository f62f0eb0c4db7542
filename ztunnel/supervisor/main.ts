#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// Entry of the supervisor: the process that outlives every version of the data process. It parses no byte of a peer.
import { runSupervisor } from '../../mesh/generations/run-supervisor.ts'
import { readConfig } from '../config.ts'

// The warm-up imports this file only to have it in the compile cache.
if (import.meta.main)
  await runSupervisor({
    ...{ name: 'ztunnel', readConfig, failure: 'this node cannot be served' },
    logFields: ({ nodeName }) => ({ node: nodeName }),
    open: async (options, args, cache, log) => {
      const { Supervisor } = await import('./supervisor.ts')
      return new Supervisor(options, args, cache, log)
    },
  })
