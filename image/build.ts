#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// Builds the image of all parts from an installed checkout, without a container engine.
// usage: node image/build.ts [--name NAME:TAG] (--archive FILE.tar | --directory ROOTFS)
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { contentOf, imageLayers } from './contents.ts'
import { layerPaths, writeOciArchive } from './oci-archive.ts'

const { values } = parseArgs({
  options: {
    name: { type: 'string', default: 'docker.io/sidestep/sidestep:0.1.0' },
    archive: { type: 'string' },
    directory: { type: 'string' },
  },
})
const { name, archive, directory } = values
if ((archive === undefined) === (directory === undefined)) {
  process.stderr.write(
    'usage: node image/build.ts [--name NAME:TAG] (--archive FILE.tar | --directory ROOTFS)\n',
  )
  process.exit(2)
}
const layers = imageLayers(resolve(import.meta.dirname, '..'))
if (archive !== undefined) {
  mkdirSync(dirname(resolve(archive)), { recursive: true })
  const { digest, sizeBytes } = writeOciArchive(layers, { file: resolve(archive), name })
  process.stdout.write(`${name} ${digest} ${sizeBytes} bytes\n`)
}
if (directory !== undefined)
  for (const layer of layers)
    for (const path of layerPaths(layer)) {
      const file = layer.files.get(path)
      const target = join(directory, path)
      if (file === undefined) mkdirSync(target, { recursive: true })
      else writeFileSync(target, contentOf(file))
      chmodSync(target, file?.mode ?? layer.directories[path] ?? 0o755)
    }
