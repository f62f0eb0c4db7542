// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process'
import t from 'tap'

t.test('garbage and free memory go back to the system', async (t) => {
  const script = `
    const { readFileSync } = await import('node:fs')
    const { trimMemory } = await import('./mesh/reactor/trim-memory.ts')
    const kb = () => Number(/^RssAnon:\\s+(\\d+)/m.exec(readFileSync('/proc/self/status', 'latin1'))[1])
    trimMemory()
    const before = kb()
    let garbage = Array.from({ length: 400 }, (_, i) => Array.from({ length: 10_000 }, (_, j) => i * j + 0.5))
    const full = kb()
    garbage = null
    trimMemory()
    console.log(full - before > 20_000, kb() - before < (full - before) / 2)`
  for (const flags of [['--expose-gc'], []]) {
    const done = spawnSync(process.execPath, [...flags, '--input-type=module', '-e', script], {
      encoding: 'utf8',
    })
    t.equal(done.status, 0, done.stderr)
    t.match(done.stdout, flags.length > 0 ? 'true true' : 'true', flags.join())
  }
})

t.test('pages of files are let go of, and the process goes on working', async (t) => {
  const script = `
    const { readFileSync } = await import('node:fs')
    const { releaseFilePages } = await import('./mesh/reactor/trim-memory.ts')
    const kb = () => Number(/^RssFile:\\s+(\\d+)/m.exec(readFileSync('/proc/self/status', 'latin1'))[1])
    // Work in all parts of Node's code: parser, compiler, regular expressions, cryptography, compression.
    const work = async () => {
      const { createHash } = await import('node:crypto')
      const { gzipSync, gunzipSync } = await import('node:zlib')
      const text = JSON.stringify(Array.from({ length: 10_000 }, (_, i) => ({ i, text: 'x'.repeat(i % 50) })))
      const again = gunzipSync(gzipSync(text)).toString().replace(/x+/g, (found) => found.toUpperCase())
      return createHash('sha256').update(again + new Function('return 6 * 7')()).digest('hex')
    }
    const constants = () => readFileSync('/proc/self/smaps', 'latin1').split(/^(?=[0-9a-f]+-)/m)
      .filter((each) => / r--p .*\\/node\\n/.test(each.slice(0, each.indexOf('\\n') + 1)))
      .reduce((sum, each) => sum + Number(/^Rss:\\s+(\\d+)/m.exec(each)[1]), 0)
    const first = await work()
    const constantsBefore = constants()
    const before = kb()
    releaseFilePages()
    const after = kb()
    const constantsAfter = constants()
    releaseFilePages()
    const results = await Promise.all([work(), work(), new Promise((done) => setTimeout(() => done(work()), 5))])
    console.log(JSON.stringify({ before, after, constantsBefore, constantsAfter, isSame: results.every((each) => each === first) }))`
  const done = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' })
  t.equal(done.status, 0, done.stderr)
  // as: what the script prints
  const { before, after, constantsBefore, constantsAfter, isSame } = JSON.parse(done.stdout) as {
    before: number
    after: number
    constantsBefore: number
    constantsAfter: number
    isSame: boolean
  }
  t.ok(isSame)
  t.ok(after < before - 5000, `${before} kB of files before, ${after} kB after`)
  t.ok(
    constantsAfter < constantsBefore / 2,
    `${constantsBefore} kB of constants before, ${constantsAfter} kB after`,
  )
})

t.test('threads share arenas', async (t) => {
  // An arena's first heap is mapped at a multiple of 64 MB and begins with a pointer to the arena, right after the heap's head.
  const script = `
    const { openSync, readFileSync, readSync } = await import('node:fs')
    const { Worker } = await import('node:worker_threads')
    const { limitArenas } = await import('./mesh/reactor/trim-memory.ts')
    const memory = openSync('/proc/self/mem', 'r')
    const isArena = (start) => {
      const first = Buffer.alloc(8)
      readSync(memory, first, 0, 8, start)
      const offset = first.readBigUInt64LE() - start
      return offset > 0n && offset < 256n
    }
    const arenas = () => readFileSync('/proc/self/maps', 'latin1').split('\\n')
      .filter((each) => / rw-p 00000000 00:00 0 *$/.test(each))
      .map((each) => BigInt('0x' + each.split('-')[0]))
      .filter((start) => start % (1n << 26n) === 0n && isArena(start)).length
    const before = arenas()
    if (process.argv[1] !== '0') limitArenas(Number(process.argv[1]))
    const workers = Array.from({ length: 6 }, () => new Worker('setInterval(() => {}, 1000)', { eval: true }))
    await Promise.all(workers.map((each) => new Promise((done) => each.once('online', done))))
    console.log(arenas() - before)
    process.exit(0)`
  const grown = (limit: string): number => {
    const done = spawnSync(process.execPath, ['--input-type=module', '-e', script, limit], {
      encoding: 'utf8',
    })
    t.equal(done.status, 0, done.stderr)
    return Number(done.stdout)
  }
  t.ok(grown('0') >= 3, 'left alone, threads have their own')
  t.equal(grown('1'), 0, 'limited, they share what is there')
})
