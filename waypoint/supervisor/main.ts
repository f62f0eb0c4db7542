#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// Entry of the waypoint’s supervisor: the process that outlives every version of the data process. It parses no byte of a peer.
import { runSupervisor } from '../../mesh/generations/run-supervisor.ts'
import { readConfig } from '../config.ts'

// The warm-up imports this file only to have it in the compile cache.
if (import.meta.main)
  await runSupervisor({
    ...{ name: 'waypoint', readConfig, failure: 'this waypoint cannot serve' },
    logFields: ({ podName }) => ({ pod: podName }),
    open: async (options, args, cache, log) => {
      const { Supervisor } = await import('./supervisor.ts')
      return new Supervisor(options, args, cache, log)
    },
  })
