// SPDX-License-Identifier: Apache-2.0
// Runs test files as processes, some at once, and more of them while processors are idle: most of what a test does is to wait.
// Each has a time of its own: one that hangs is ended with all it has started, and the others go on (tap's own runner ends them all).
import { spawn } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { idleShare } from './idle-share.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const bin = join(root, 'node_modules', '.bin')
const NODE_OPTIONS = ['--no-warnings', '--enable-source-maps', '--import', './scripts/compile-cache.mjs']
/** Between being told to end, which prints what it waits for, and being ended. */
const END_MS = 3000
/** Between two looks at the processors: one more file is seen in what the next look finds. */
const LOOK_MS = 400
/** Of all processors: this much is enough for one more file. */
const IDLE_ENOUGH = 0.35

/** Those that run now, as process groups. */
const running = new Set()
for (const signal of ['SIGINT', 'SIGTERM'])
  process.once(signal, () => {
    for (const pid of running) endGroup(pid, 'SIGTERM')
    process.exit(1)
  })

function endGroup(pid, signal) {
  try {
    process.kill(-pid, signal)
  } catch {
    // It has ended meanwhile.
  }
}

/**
 * Runs the files, at least `jobs.least` at once and at most `jobs.most`; `onDone` hears of each. Gives what each has printed, and
 * whether it went well, in the order of `files`.
 */
export function runFiles(files, jobs, timeoutSeconds, onDone) {
  const results = new Map()
  const waiting = [...files]
  const idle = idleShare()
  let count = 0
  return new Promise((resolve, reject) => {
    const looks = setInterval(() => {
      const isIdle = idle() >= IDLE_ENOUGH
      if (isIdle && count < jobs.most && waiting.length > 0) startOne().catch(reject)
    }, LOOK_MS)
    async function startOne() {
      count++
      const result = await runFile(waiting.shift(), timeoutSeconds)
      count--
      results.set(result.file, result)
      onDone(result)
      startLeast()
    }
    function startLeast() {
      while (count < jobs.least && waiting.length > 0) startOne().catch(reject)
      if (count > 0) return
      clearInterval(looks)
      resolve(files.map((file) => results.get(file)))
    }
    startLeast()
  })
}

function runFile(file, timeoutSeconds) {
  const startedMs = performance.now()
  const child = spawn(join(bin, 'node'), [...NODE_OPTIONS, file], {
    cwd: root,
    env: { ...process.env, PATH: `${bin}:${process.env.PATH}`, TAP: '1', TAP_TIMEOUT: `${timeoutSeconds}` },
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true, // a group of its own, to end as one
  })
  const chunks = []
  let isLate = false
  running.add(child.pid)
  const timer = setTimeout(() => {
    isLate = true
    endGroup(child.pid, 'SIGALRM')
    setTimeout(() => endGroup(child.pid, 'SIGKILL'), END_MS)
  }, timeoutSeconds * 1000)
  child.stdout.on('data', (chunk) => chunks.push(chunk))
  return new Promise((resolve) => {
    // Not `close`: what a file leaves behind may hold its output.
    child.on('exit', (code) => {
      clearTimeout(timer)
      running.delete(child.pid)
      setTimeout(() => {
        child.stdout.destroy()
        const lines = Buffer.concat(chunks).toString().split('\n')
        const isOk = code === 0 && !isLate && lines.some((line) => /^ *ok /.test(line))
        if (isLate) lines.push(`not ok - ended after ${timeoutSeconds} s`)
        else if (!isOk && !lines.some((line) => /^ *not ok /.test(line)))
          lines.push(`not ok - ended with ${code}, and nothing that failed`)
        resolve({ file, isOk, lines, seconds: (performance.now() - startedMs) / 1000 })
      }, 50)
    })
  })
}
