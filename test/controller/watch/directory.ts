// SPDX-License-Identifier: Apache-2.0
// What only a directory can do wrong; what every source must do is in test/contract/config-source.ts.
import { execFileSync } from 'node:child_process'
import { appendFile, mkdir, mkdtemp, open, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { DirectorySource } from '../../../controller/watch/directory.ts'
import { type Clock, systemClock } from '../../../mesh/runtime/clock.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { RecordingSink } from '../../support/recording-sink.ts'

const service = (name: string, extra = ''): string =>
  `apiVersion: v1\nkind: Service\nmetadata:\n  name: ${name}\n  namespace: shop\n${extra}`

/** A source on a directory with these files, which has synced. */
async function openLab(t: Test, files: Readonly<Record<string, string>>, clock: Clock = systemClock) {
  const root = await mkdtemp(join(tmpdir(), 'sidestep-directory-'))
  const write = async (path: string, text: string): Promise<void> => {
    await mkdir(dirname(join(root, path)), { recursive: true })
    await writeFile(join(root, path), text)
  }
  for (const [path, text] of Object.entries(files)) await write(path, text)
  const sink = new RecordingSink()
  const source = new DirectorySource(root, clock)
  t.teardown(async () => {
    await source.stop()
    await rm(root, { recursive: true })
  })
  const start = async (): Promise<void> => {
    source.start(sink)
    await sink.until('synced', () => sink.syncedCount === 1)
  }
  /** One line per mistake: `error a.yaml:3:5 path: message`. */
  const told = (): string[] =>
    sink.told.map(({ severity, origin, path, message }) => {
      return `${severity} ${origin?.file}:${origin?.line}:${origin?.column} ${path}: ${message}`
    })
  return { root, sink, write, start, told }
}

t.test('files of all levels are read, others are not', async (t) => {
  const lab = await openLab(t, {
    'a.yaml': service('a'),
    'deep/er/b.YML': service('b'),
    'c.json': '{"apiVersion":"v1","kind":"Service","metadata":{"name":"c","namespace":"shop"}}',
    'notes.txt': service('no'),
    '.hidden.yaml': service('no'),
    '.git/x.yaml': service('no'),
    'empty.yaml': '',
  })
  await lab.start()
  t.same(lab.told(), [])
  t.same(lab.sink.names('Service'), ['Service/shop/a', 'Service/shop/b', 'Service/shop/c'])
  t.same(lab.sink.object('Service', 'shop', 'b')?.origin, { file: 'deep/er/b.YML', line: 1, column: 1 })
})

t.test('a namespace that objects name exists without labels unless a file describes it', async (t) => {
  const described =
    'apiVersion: v1\nkind: Namespace\nmetadata: {name: bank, labels: {sidestep.dev/mode: ambient}}\n'
  const lab = await openLab(t, { 'a.yaml': service('a'), 'b.yaml': described })
  await lab.start()
  t.same(lab.sink.names('Namespace'), ['Namespace//bank', 'Namespace//shop'])
  t.same(lab.sink.object('Namespace', '', 'shop')?.metadata.labels, {})
  t.same(lab.sink.object('Namespace', '', 'bank')?.metadata.labels, { 'sidestep.dev/mode': 'ambient' })
  await rm(join(lab.root, 'a.yaml'))
  await lab.sink.until('gone', () => lab.sink.names('Namespace').length === 1)
})

t.test('a mistake names file, line, column and field', async (t) => {
  const text = `${service('a')}---\n${service('b', 'spec:\n  ports:\n  - port: 80\n    nmae: x\n  - port: many\n')}`
  const lab = await openLab(t, { 'a.yaml': text })
  await lab.start()
  t.same(lab.told(), [
    'warning a.yaml:15:5 spec.ports[0].nmae: unknown field',
    'error a.yaml:16:5 spec.ports[1].port: expected a whole number from 1 to 65535, found text "many"',
  ])
  t.equal(lab.sink.told[0]?.suggestion, 'name')
})

t.test('a file that is no YAML any more keeps all its objects; mended, it counts as it is', async (t) => {
  const lab = await openLab(t, { 'a.yaml': `${service('a')}---\n${service('b')}` })
  await lab.start()
  await lab.write('a.yaml', `${service('a', 'spec: {externalName: new}\n')}---\nkind: [\n`)
  await lab.sink.until('mistake', () => lab.sink.told.length > 0)
  t.same(lab.sink.names('Service'), ['Service/shop/a', 'Service/shop/b'])
  t.match(lab.sink.object('Service', 'shop', 'a')?.spec, { externalName: 'new' }, 'the good part counts')
  await lab.write('a.yaml', service('a'))
  await lab.sink.until('mended', () => lab.sink.told.length === 0)
  t.same(lab.sink.names('Service'), ['Service/shop/a'])
})

t.test('a file that was never readable withholds all: a policy may be in it', async (t) => {
  const lab = await openLab(t, { 'a.yaml': service('a'), 'policy.yaml': 'kind: [' })
  const started = lab.start()
  await lab.sink.until('the mistake', () => lab.sink.told.length > 0)
  await new Promise((resolve) => setTimeout(resolve, 500))
  t.equal(lab.sink.syncedCount, 0)
  t.match(lab.told()[0], /^error policy\.yaml:1:/)
  await lab.write('policy.yaml', service('mended'))
  await started
  t.same(lab.sink.names('Service'), ['Service/shop/a', 'Service/shop/mended'])
  await lab.write('policy.yaml', 'kind: [')
  await lab.sink.until('the mistake again', () => lab.sink.told.length > 0)
  t.same(lab.sink.names('Service'), ['Service/shop/a', 'Service/shop/mended'], 'later it is held')
  t.equal(lab.sink.syncedCount, 1)
})

t.test('an object whose kind is misspelt stays what it was, one that is nameless too', async (t) => {
  const lab = await openLab(t, { 'a.yaml': service('a'), 'b.yaml': service('b') })
  await lab.start()
  await lab.write('a.yaml', service('a').replace('Service', 'Servise'))
  await lab.write('b.yaml', service('b').replace('name: b', 'nam: b'))
  await lab.sink.until('mistakes', () => lab.sink.told.length === 2)
  t.same(lab.sink.told.map(({ suggestion }) => suggestion).toSorted(), ['', 'Service'])
  t.same(lab.sink.names('Service'), ['Service/shop/a', 'Service/shop/b'])
})

t.test('of two objects of one name the first by path counts, and both places are named', async (t) => {
  const lab = await openLab(t, { 'b.yaml': service('x'), 'a.yaml': `# first\n${service('x')}` })
  await lab.start()
  t.same(lab.told(), [
    'error b.yaml:1:1 metadata.name: Service shop/x stands twice; the one at a.yaml:2:1 counts',
  ])
  t.equal(lab.sink.object('Service', 'shop', 'x')?.origin?.file, 'a.yaml')
  await rm(join(lab.root, 'a.yaml'))
  await lab.sink.until('the other', () => lab.sink.object('Service', 'shop', 'x')?.origin?.file === 'b.yaml')
  await lab.sink.until('no mistake', () => lab.sink.told.length === 0)
  t.notOk(lab.sink.calls.includes('remove Service/shop/x'), 'it was never away')
})

t.test('objects of others are ignored with a word', async (t) => {
  const secret = 'apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {a: c2VjcmV0}\n'
  const lab = await openLab(t, { 'a.yaml': `${secret}---\n${service('a')}` })
  await lab.start()
  t.same(lab.told(), ['info a.yaml:2:1 kind: objects of kind Secret are not read'])
  t.same(lab.sink.names('Secret'), [])
})

t.test('an editor that replaces the file is no deletion', async (t) => {
  const lab = await openLab(t, { 'a.yaml': service('a') })
  await lab.start()
  for (let round = 0; round < 5; round++) {
    await rename(join(lab.root, 'a.yaml'), join(lab.root, 'a.yaml~'))
    await lab.write('.a.swp', service('a', `spec: {externalName: r${round}}\n`))
    await rename(join(lab.root, '.a.swp'), join(lab.root, 'a.yaml'))
    await lab.sink.until('changed', () => {
      return lab.sink.object('Service', 'shop', 'a')?.spec.externalName === `r${round}`
    })
  }
  t.notOk(lab.sink.calls.some((call) => call.startsWith('remove')))
})

t.test('a file that is gone at one look and back at the next was never away', async (t) => {
  const clock = new ManualClock()
  const lab = await openLab(t, { 'a.yaml': service('a') }, clock)
  /** Lets one look happen, from its timer to the timer of the next. */
  const look = async (): Promise<void> => {
    const settled = async (): Promise<void> => {
      while (clock.pendingCount === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    await settled()
    clock.advance(clock.nextDelayMs ?? 0)
    await settled()
  }
  await lab.start()
  await rm(join(lab.root, 'a.yaml'))
  await look()
  t.same(lab.sink.names('Service'), ['Service/shop/a'])
  await lab.write('a.yaml', service('a', 'spec: {externalName: new}\n'))
  await look()
  await look()
  t.equal(lab.sink.object('Service', 'shop', 'a')?.spec.externalName, 'new')
  t.notOk(lab.sink.calls.some((call) => call.startsWith('remove')))
  await rm(join(lab.root, 'a.yaml'))
  await look()
  await look()
  t.same(lab.sink.names('Service'), [], 'a file that stays away is deleted')
})

t.test('a file that is being written is left alone until it is whole', async (t) => {
  const lab = await openLab(t, { 'a.yaml': `${service('a')}---\n${service('b')}` })
  await lab.start()
  const before = lab.sink.calls.length
  await truncate(join(lab.root, 'a.yaml'))
  const file = await open(join(lab.root, 'a.yaml'), 'a')
  const text = `${service('a', 'spec: {externalName: new}\n')}---\n${service('b')}`
  // A write every 20 ms: faster than the file settles.
  for (let at = 0; at < text.length; at += 12) {
    await file.write(text.slice(at, at + 12))
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  await file.close()
  await lab.sink.until('new', () => lab.sink.object('Service', 'shop', 'a')?.spec.externalName === 'new')
  t.same(
    lab.sink.calls.slice(before).filter((call) => /remove|mistakes/.test(call)),
    [],
  )
})

t.test('links that lead in a circle, pipes and links to nothing do no harm', async (t) => {
  const lab = await openLab(t, { 'dir/a.yaml': service('a') })
  await symlink('..', join(lab.root, 'dir', 'up'))
  await symlink('dir', join(lab.root, 'again'))
  await symlink('nowhere', join(lab.root, 'b.yaml'))
  execFileSync('mkfifo', [join(lab.root, 'pipe.yaml')])
  await lab.start()
  t.same(lab.told(), [])
  t.same(lab.sink.names('Service'), ['Service/shop/a'])
})

t.test('a mounted ConfigMap is read, and its new version too', async (t) => {
  const lab = await openLab(t, {
    '..v1/a.yaml': service('a'),
    '..v2/a.yaml': service('a', 'spec: {externalName: new}\n'),
  })
  await symlink('..v1', join(lab.root, '..data'))
  await symlink('..data/a.yaml', join(lab.root, 'a.yaml'))
  await lab.start()
  t.same(lab.told(), [])
  t.same(lab.sink.names('Service'), ['Service/shop/a'])
  await symlink('..v2', join(lab.root, '..data_tmp'))
  await rename(join(lab.root, '..data_tmp'), join(lab.root, '..data'))
  await lab.sink.until('new', () => lab.sink.object('Service', 'shop', 'a')?.spec.externalName === 'new')
})

t.test('a file beyond the limit keeps its objects', async (t) => {
  const lab = await openLab(t, { 'a.yaml': service('a') })
  await lab.start()
  await appendFile(join(lab.root, 'a.yaml'), `#${'x'.repeat(8 * 1024 * 1024)}`)
  await lab.sink.until('mistake', () => lab.sink.told.length > 0)
  t.match(lab.told()[0], /error a.yaml:1:1 : the file has more than 8388608 bytes/)
  t.same(lab.sink.names('Service'), ['Service/shop/a'])
})

t.test('directories nested too deep are told, the rest is read', async (t) => {
  const lab = await openLab(t, { 'a.yaml': service('a'), [`${'d/'.repeat(17)}b.yaml`]: service('b') })
  await lab.start()
  t.match(lab.told()[0], /more than 16 levels/)
  t.same(lab.sink.names('Service'), ['Service/shop/a'])
})

t.test('ten thousand objects and a thousand mistakes are read in bounded time', async (t) => {
  const files = Object.fromEntries(
    Array.from({ length: 10 }, (_, file) => [
      `f${file}.yaml`,
      Array.from({ length: 1000 }, (_, index) =>
        service(`s${file}-${index}`, index < 200 ? 'spec: {x: 1}\n' : ''),
      ).join('---\n'),
    ]),
  )
  const lab = await openLab(t, files)
  const startedMs = performance.now()
  await lab.start()
  t.comment(`${Math.round(performance.now() - startedMs)} ms`)
  t.equal(lab.sink.names('Service').length, 10_000)
  t.equal(lab.sink.told.length, 1001)
  t.match(lab.sink.told.at(-1)?.message, /1000 more mistakes/)
})
