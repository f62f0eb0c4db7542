// SPDX-License-Identifier: Apache-2.0
// No proxy at all: the most that client, server and kernel give on this machine.
import type { Lab } from '../lab.ts'
import type { RunningSubject, Subject } from './subject.ts'

export const DIRECT: Subject = {
  name: 'direct',
  description: { version: '–', settings: 'no proxy, no encryption', isMissing: false },
  start: (lab: Lab): Promise<RunningSubject> =>
    Promise.resolve({
      name: 'direct',
      lab,
      sourcePids: () => [],
      destinationPids: () => [],
      dataPids: () => ({ source: [], destination: [] }),
    }),
}
