// SPDX-License-Identifier: Apache-2.0
// The commands of the README, run as a newcomer runs them: as root, as nobody, where nothing is allowed, and ended
// by a signal. Nothing may be left behind.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as wait } from 'node:timers/promises'
import t, { type Test } from 'tap'

const ROOT = join(import.meta.dirname, '..', '..')
const MAIN = join(ROOT, 'demo', 'main.ts')
const NOBODY = 65_534
const BIN = join(ROOT, 'node_modules', '.bin')
/** What `--once` promises. */
const ONCE_MS = 60_000
/** Far more than a drain and its end take. */
const END_MS = 15_000
const POLL_MS = 50

interface Report {
  readonly mode: string
  readonly privilege: string
  readonly missing: readonly string[]
  readonly notShown: readonly string[]
  readonly ok: boolean
  readonly checks: readonly { readonly name: string; readonly ok: boolean; readonly detail: string }[]
  readonly explanation: { readonly code: string; readonly policy: string; readonly fix: string }
}

/** A directory for temporary files, writable by everybody, so that what stays behind is seen. */
function temporary(t: Test): string {
  const directory = mkdtempSync(join(tmpdir(), 'demo-test-'))
  chmodSync(directory, 0o777)
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** What processes of root keep in the checkout, a user keeps in a directory of its own. */
function compileCacheOf(user: number): string {
  const directory = join(ROOT, 'node_modules', '.cache', `sidestep-demo-${user}`)
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  chownSync(directory, user, user)
  return directory
}

function start(directory: string, args: readonly string[], user?: number, timeoutMs = ONCE_MS): ChildProcess {
  // tap's own preload must not reach the demo.
  const env = {
    ...{ PATH: `${BIN}:/usr/sbin:/usr/bin:/sbin:/bin`, TMPDIR: directory, HOME: directory },
    ...(user !== undefined && { NODE_COMPILE_CACHE: compileCacheOf(user) }),
  }
  const identity = user === undefined ? {} : { uid: user, gid: user }
  const [command = '', ...rest] = args
  return spawn(command, rest, { cwd: ROOT, env, timeout: timeoutMs, ...identity })
}

async function run(
  directory: string,
  args: readonly string[],
  user?: number,
): Promise<{ readonly code: number | null; readonly output: string; readonly errors: string }> {
  const child = start(directory, args, user)
  if (child.stdout === null || child.stderr === null) throw new Error('no pipes')
  const closed = once(child, 'close')
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr)])
  const [code] = (await closed) as [number | null] // as: what the event carries
  return { code, output, errors }
}

/** Processes whose command line or environment names the directory. */
function processesOf(directory: string): readonly string[] {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return false
    try {
      return ['cmdline', 'environ'].some((file) =>
        readFileSync(`/proc/${pid}/${file}`, 'latin1').includes(directory),
      )
    } catch {
      return false // it ended meanwhile
    }
  })
}

function leavesNothing(t: Test, directory: string): void {
  t.strictSame(readdirSync(directory), [], 'no file stays')
  t.strictSame(processesOf(directory), [], 'no process stays')
}

const demo = (...args: readonly string[]): readonly string[] => [
  process.execPath,
  '--no-warnings',
  MAIN,
  ...args,
]

for (const { name, user, args, mode, privilege, checkCount } of [
  { name: 'root', user: undefined, args: [], mode: 'netns', privilege: 'root', checkCount: 14 },
  { name: 'nobody', user: NOBODY, args: [], mode: 'netns', privilege: 'user namespace', checkCount: 14 },
  {
    name: 'loopback',
    user: NOBODY,
    args: ['--mode', 'loopback'],
    mode: 'loopback',
    privilege: 'nothing',
    checkCount: 11,
  },
] as const) {
  t.test(`--once --json passes all its checks: ${name}`, async (t) => {
    const directory = temporary(t)
    const { code, output, errors } = await run(directory, demo('--once', '--json', ...args), user)
    t.equal(code, 0, errors)
    const report = JSON.parse(output) as Report // as: checked field by field below
    t.match(report, { mode, privilege, ok: true })
    t.equal(report.checks.length, checkCount)
    for (const check of report.checks) t.ok(check.ok, `${check.name}: ${check.detail}`)
    t.match(report.explanation, {
      code: 'POLICY_DENY',
      policy: 'shop/batch-may-not-call-cart',
      fix: /^change shop\/batch-may-not-call-cart so that it leaves out .*batch$/,
    })
    for (const promise of [/^both joined the controller/, /^without the controller/, /started again/])
      t.ok(
        report.checks.some((check) => promise.test(check.name)),
        String(promise),
      )
    t.equal(report.missing.length > 0, mode === 'loopback')
    t.equal(report.notShown.length > 0, mode === 'loopback')
    leavesNothing(t, directory)
  })
}

t.test('where no unshare is installed an unprivileged user gets loopback mode and is told why', async (t) => {
  const directory = temporary(t)
  const env = ['env', '-i', `PATH=${directory}`, `TMPDIR=${directory}`]
  const { code, output } = await run(directory, [...env, ...demo('--once')], NOBODY)
  t.equal(code, 0, output)
  t.match(output, /^mode: loopback$/m)
  t.match(output, /^ {2}missing: not root: .*Operation not permitted/m)
  t.match(output, /^ {2}missing: the program unshare \(util-linux\) is not installed$/m)
  leavesNothing(t, directory)
})

/** The demo's own processes that keep running: the controller and both ztunnels' supervisors. */
const standing = (directory: string): readonly string[] =>
  processesOf(directory).filter((pid) =>
    /\/(controller|ztunnel\/supervisor)\/main\.ts/.test(readFileSync(`/proc/${pid}/cmdline`, 'latin1')),
  )

/** A key in PEM, also inside of JSON, or a token; not the program's own text about them. */
const SECRET = /PRIVATE KEY-----(?:\n|\\n)[A-Za-z0-9+/]{40}|sidestep-join\.[0-9a-f]{24}\.[\w-]{43}/

/** Everything of the running demo that holds a secret can be read by its user only. */
function keepsSecrets(t: Test, directory: string): void {
  const files = globSync('**/*', { cwd: directory, withFileTypes: true }).filter((entry) => entry.isFile())
  const secret = files.filter(({ parentPath, name }) =>
    SECRET.test(readFileSync(join(parentPath, name), 'latin1')),
  )
  t.ok(secret.length >= 3, 'the key of the CA and of both nodes')
  for (const { parentPath, name } of secret) {
    t.equal(statSync(join(parentPath, name)).mode & 0o777, 0o600, name)
    t.equal(statSync(parentPath).mode & 0o777, 0o700, parentPath)
    t.notMatch(name, /log$|token/, 'not in a log; tokens are gone once they were used')
  }
  for (const name of readdirSync(directory)) t.equal(statSync(join(directory, name)).mode & 0o777, 0o700)
}

for (const { name, user, args } of [
  { name: 'root', user: undefined, args: [] },
  { name: 'loopback', user: NOBODY, args: ['--mode', 'loopback'] },
] as const) {
  t.test(
    `the policy is edited while the demo runs, and the refused call goes through: ${name}`,
    async (t) => {
      const directory = temporary(t)
      const child = start(directory, demo(...args), user, 3 * ONCE_MS)
      t.teardown(() => child.kill('SIGTERM'))
      const closed = once(child, 'close')
      let output = ''
      child.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()))
      const says = async (what: RegExp): Promise<RegExpExecArray> => {
        for (const endMs = performance.now() + ONCE_MS; performance.now() < endMs; await wait(POLL_MS)) {
          const found = what.exec(output)
          if (found !== null) return found
          if (child.exitCode !== null) break
        }
        throw new Error(`${what} in ${output}`)
      }
      const [, policyFile = ''] = await says(/^ +file +(\/\S+policy\.yaml)$/m)
      t.match(output, new RegExp(`^Change the policy while this runs.*\n  ${policyFile}$`, 'm'))
      t.match(output, /batch calls the service cart: no answer/)
      t.notMatch(output, /batch calls the service cart: HTTP 200/)
      keepsSecrets(t, directory)
      const before = standing(directory)
      t.equal(before.length, 3)

      const policy = readFileSync(policyFile, 'utf8')
      writeFileSync(policyFile, `${policy}---\nkind: [`)
      await says(/^ +policy\.yaml:\d+:\d+ .+$/m)
      t.notMatch(output, /batch calls the service cart: HTTP 200/)

      writeFileSync(policyFile, policy.replace('/sa/batch', '/sa/front'))
      await says(/batch calls the service cart: HTTP 200/)
      await says(
        / why +the DENY policy shop\/batch-may-not-call-cart matches cluster\.local\/ns\/shop\/sa\/front /,
      )
      t.strictSame(standing(directory), before, 'nothing was started again')

      const controller = before.find((pid) =>
        readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('/controller/main.ts'),
      )
      process.kill(Number(controller), 'SIGKILL')
      await says(/^ +the controller has ended: traffic goes on.*\n +\w+ calls the [^\n]*HTTP 200$/ms)

      child.kill('SIGINT')
      const [code] = await closed
      t.equal(code, 0, output)
      leavesNothing(t, directory)
    },
  )
}

t.test('npm run demo shows what flows and why a call is refused, until a signal ends it', async (t) => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    const directory = temporary(t)
    const child = start(directory, demo())
    const closed = once(child, 'close')
    let output = ''
    child.stdout?.on('data', (chunk: Buffer) => {
      output += chunk.toString()
      if (/^ +fix /m.test(output)) child.kill(signal)
    })
    const [code] = await closed
    t.equal(code, 0, output)
    t.match(output, /^mode: netns \(by root\)$/m)
    t.match(output, /^[\d:.]+ node1 out +shop\/front +shop\/cart +mTLS +\d+ +\d+ +OK$/m)
    t.match(output, /^[\d:.]+ node2 in +10\.1\.0\.4 \(nobody\) +shop\/cart +plain text +\d+ +\d+ +OK$/m)
    t.match(output, / POLICY_DENY by shop\/batch-may-not-call-cart$/m)
    leavesNothing(t, directory)
  }
})

t.test('a user namespace ends with its signal too', async (t) => {
  const directory = temporary(t)
  const child = start(directory, demo('--json'), NOBODY)
  const closed = once(child, 'close')
  child.stdout?.on('data', (chunk: Buffer) => {
    if (chunk.includes('"type":"record"')) child.kill('SIGTERM')
  })
  const [code] = await closed
  t.equal(code, 0)
  leavesNothing(t, directory)
})

for (const [who, user] of [
  ['root', undefined],
  ['nobody', NOBODY],
] as const) {
  t.test(`a killed demo leaves no process behind: ${who}`, async (t) => {
    const directory = temporary(t)
    const child = start(directory, demo('--json'), user)
    const closed = once(child, 'exit')
    child.stdout?.on('data', (chunk: Buffer) => {
      if (chunk.includes('"type":"record"')) child.kill('SIGKILL')
    })
    await closed
    t.equal(child.signalCode, 'SIGKILL')
    const endMs = performance.now() + END_MS
    while (processesOf(directory).length > 0 && performance.now() < endMs) await wait(POLL_MS)
    t.strictSame(processesOf(directory), [])
  })
}

t.test('a reader that goes away ends the demo in order', async (t) => {
  const directory = temporary(t)
  const { output } = await run(directory, ['sh', '-c', `${demo().join(' ')} | head -n 1`])
  t.equal(output, 'mode: netns (by root)\n')
  leavesNothing(t, directory)
})

t.test('wrong arguments are named and exit with 2', async (t) => {
  const { code, errors } = await run(temporary(t), demo('--twice'))
  t.equal(code, 2)
  t.match(errors, /unknown option '--twice'/)
})
