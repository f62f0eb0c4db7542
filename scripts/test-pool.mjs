// SPDX-License-Identifier: Apache-2.0
// Runs test files as processes, some at once. Each has a time of its own: one that hangs is ended with all it has started, and
// the others go on (tap's own runner ends them all).
import { spawn } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const bin = join(root, 'node_modules', '.bin')
const NODE_OPTIONS = ['--no-warnings', '--enable-source-maps', '--import', './scripts/compile-cache.mjs']
/** Between being told to end, which prints what it waits for, and being ended. */
const END_MS = 3000

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

/** Runs the files; `onDone` hears of each. Gives what each has printed, and whether it went well, in the order of `files`. */
export async function runFiles(files, jobs, timeoutSeconds, onDone) {
  const results = new Map()
  const waiting = [...files]
  const work = async () => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      const result = await runFile(file, timeoutSeconds)
      results.set(file, result)
      onDone(result)
    }
  }
  await Promise.all(Array.from({ length: jobs }, work))
  return files.map((file) => results.get(file))
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
