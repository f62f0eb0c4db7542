// SPDX-License-Identifier: Apache-2.0
// The levels of tests (see CONTRIBUTING.md): where their files are, how many run at once, how long one may take.

const UNIT = ['mesh', 'ztunnel', 'waypoint', 'controller', 'cli', 'demo', 'bench', 'image', 'scripts'].map(
  (room) => `test/${room}/**/*.ts`,
)
const of = (level) => [`test/${level}/**/*.ts`]

/** Files at once: on a busy machine, and on one that is idle. */
const TOGETHER = { least: 2, most: 6 }
/** The same of files that wait for little but a processor, and take a second. */
const QUICK = { least: 3, most: 6 }
/** One that wants all processors, or measures. Two clusters with nodes take as long at once as one after the other. */
export const ALONE = { least: 1, most: 1 }
/** A file; some hundred times what one takes that is well. */
const QUICK_SECONDS = 120
/** A file with namespaces or clusters of its own: seconds to set up each, and much waiting. Or one that gives way to those. */
const SLOW_SECONDS = 600
/** The story of a whole mesh, with outages and a reboot in it: six minutes on a machine that does nothing else. */
const NODES_SECONDS = 900
/** Half an hour of connections, what is before and after it, and a machine that is busy. */
const SOAK_SECONDS = 2700

/** By name; `seconds` are those of one file, which is ended then. Every file's own limit is below them. */
export const LEVELS = {
  unit: { globs: UNIT, jobs: QUICK, seconds: QUICK_SECONDS },
  contract: { globs: of('contract'), jobs: QUICK, seconds: QUICK_SECONDS },
  integration: { globs: of('integration'), jobs: QUICK, seconds: QUICK_SECONDS },
  fuzz: { globs: of('fuzz'), jobs: TOGETHER, seconds: SLOW_SECONDS },
  netns: { globs: of('netns'), jobs: TOGETHER, seconds: SLOW_SECONDS },
  cluster: { globs: of('cluster'), jobs: TOGETHER, seconds: SLOW_SECONDS },
  interop: { globs: of('interop'), jobs: TOGETHER, seconds: SLOW_SECONDS },
  nodes: { globs: of('nodes'), jobs: ALONE, seconds: NODES_SECONDS },
  conformance: { globs: ['test/conformance/*.ts'], jobs: ALONE, seconds: SLOW_SECONDS }, // what is below runs in pods
  peer: { globs: of('peer'), jobs: ALONE, seconds: SLOW_SECONDS },
  soak: { globs: of('soak'), jobs: ALONE, seconds: SOAK_SECONDS },
}

/** Files that mostly wait, for a minute or two. */
export const WAITING = [
  'ztunnel-churn',
  'ztunnel-clock-jumps',
  'ztunnel-controller-faults',
  'ztunnel-expiry',
  'ztunnel-generations',
  'ztunnel-grace',
  'ztunnel-half-closed',
  'ztunnel-handover',
  'ztunnel-node-limits',
  'ztunnel-outages',
  'ztunnel-snapshot',
].map((name) => `test/netns/${name}.ts`)
/** So many others follow each of them. */
const BETWEEN = 4

/** The order in which files begin: those that wait have others beside them all the time, and none of them is alone at the end. */
export function orderOf(files) {
  const waiting = files.filter((file) => WAITING.includes(file))
  const order = []
  for (const [index, file] of files.filter((each) => !waiting.includes(each)).entries()) {
    if (index % BETWEEN === 0) order.push(...waiting.splice(0, 1))
    order.push(file)
  }
  return [...order, ...waiting]
}

/** What several levels run with together: the most careful of each. */
export function runOf(names) {
  const levels = names.map((name) => LEVELS[name])
  return {
    globs: levels.flatMap(({ globs }) => globs),
    seconds: Math.max(...levels.map(({ seconds }) => seconds)),
    jobs: {
      least: Math.min(...levels.map(({ jobs }) => jobs.least)),
      most: Math.min(...levels.map(({ jobs }) => jobs.most)),
    },
  }
}
