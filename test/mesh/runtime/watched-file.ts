// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { WATCH_INTERVAL_MS, WatchedFile } from '../../../mesh/runtime/watched-file.ts'
import { ManualClock } from '../../support/manual-clock.ts'

/** A watched file with what its handler heard. */
class Watch {
  readonly clock = new ManualClock()
  readonly heard: string[] = []
  readonly path: string
  readonly file: WatchedFile
  /** What onContent does beyond hearing. */
  onContent: (text: string) => void | Promise<void> = () => {}

  constructor(t: Test, name = 'file') {
    this.path = join(t.testdir(), name)
    this.file = new WatchedFile(this.path, this.clock, {
      onContent: (text) => {
        this.heard.push(text)
        return this.onContent(text)
      },
      onUnreadable: (cause) =>
        this.heard.push(`unreadable: ${(cause as NodeJS.ErrnoException).code ?? cause}`), // as: of fs
    })
    t.teardown(() => this.file.close())
  }

  /** Waits until the file was looked at `times` times more: each look ends with a new timer. */
  async look(times = 1): Promise<void> {
    for (let i = 0; i < times; i++) {
      this.clock.advance(WATCH_INTERVAL_MS)
      while (this.clock.pendingCount === 0) await new Promise((resolve) => setImmediate(resolve))
    }
  }
}

t.test('the content is delivered at start, and again only when it changed', async (t) => {
  const watch = new Watch(t)
  writeFileSync(watch.path, 'one')
  await watch.file.start()
  t.same(watch.heard, ['one'])
  t.equal(watch.clock.nextDelayMs, WATCH_INTERVAL_MS)
  await watch.look(3)
  t.same(watch.heard, ['one'])
  writeFileSync(watch.path, 'three')
  await watch.look()
  t.same(watch.heard, ['one', 'three'])
})

t.test('a replaced file of the same length and time is a change; so is one behind a link', async (t) => {
  const watch = new Watch(t, 'link')
  const directory = join(watch.path, '..')
  for (const [name, text] of [
    ['a', 'one'],
    ['b', 'two'],
  ] as const) {
    mkdirSync(join(directory, name))
    writeFileSync(join(directory, name, 'file'), text)
    utimesSync(join(directory, name, 'file'), 1000, 1000)
  }
  symlinkSync('a/file', watch.path)
  await watch.file.start()
  // As a ConfigMap is replaced: a new link in one step.
  symlinkSync('b/file', join(directory, 'new'))
  renameSync(join(directory, 'new'), watch.path)
  await watch.look()
  t.same(watch.heard, ['one', 'two'])
})

t.test('an unreadable file is told once, and its return too', async (t) => {
  const watch = new Watch(t)
  await watch.file.start()
  await watch.look(3)
  t.same(watch.heard, ['unreadable: ENOENT'])
  writeFileSync(watch.path, 'one')
  await watch.look(2)
  rmSync(watch.path)
  mkdirSync(watch.path)
  await watch.look(2)
  t.same(watch.heard, ['unreadable: ENOENT', 'one', 'unreadable: EISDIR'])
})

t.test('a content nobody can use now is offered again, its failure told once', async (t) => {
  const watch = new Watch(t)
  writeFileSync(watch.path, 'one')
  watch.onContent = () => Promise.reject(new Error('parser lost'))
  await watch.file.start()
  await watch.look(2)
  t.same(watch.heard, ['one', 'unreadable: Error: parser lost', 'one', 'one'])
  watch.onContent = () => {}
  await watch.look(3)
  t.same(watch.heard.slice(4), ['one'], 'used at last, and then left alone')
  watch.onContent = () => {
    throw new Error('parser lost')
  }
  writeFileSync(watch.path, 'three')
  await watch.look()
  t.same(
    watch.heard.slice(5),
    ['three', 'unreadable: Error: parser lost'],
    'after a success it is news again',
  )
})

t.test('the next look waits until the handler is done', async (t) => {
  const watch = new Watch(t)
  writeFileSync(watch.path, 'one')
  let finish = (): void => {}
  watch.onContent = () =>
    new Promise<void>((resolve) => {
      finish = resolve
    })
  const started = watch.file.start()
  while (watch.heard.length === 0) await new Promise((resolve) => setImmediate(resolve))
  t.equal(watch.clock.pendingCount, 0)
  finish()
  await started
  t.equal(watch.clock.pendingCount, 1)
})

t.test('a closed file is not looked at any more, not even by a look under way', async (t) => {
  const watch = new Watch(t)
  writeFileSync(watch.path, 'one')
  const started = watch.file.start()
  watch.file.close()
  await started
  t.same(watch.heard, [])
  t.equal(watch.clock.pendingCount, 0)
  const second = new Watch(t)
  await second.file.start()
  second.file.close()
  second.file.close()
  t.equal(second.clock.pendingCount, 0)
})
