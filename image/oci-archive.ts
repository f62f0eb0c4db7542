// SPDX-License-Identifier: Apache-2.0
// Writes layers as an OCI archive, which `ctr images import`, `podman load` and `skopeo` take. The same layers give the
// same bytes. SPEC OCI Image Format 1.1.
import { createHash } from 'node:crypto'
import { closeSync, mkdtempSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { contentOf, ENTRY_PATH, IMAGE_USER, type Layer, NODE_PATH } from './contents.ts'
import { TAR_END, tarHeader, tarPadding } from './tar.ts'

const EPOCH = '1970-01-01T00:00:00Z'
const MEDIA = 'application/vnd.oci.image'

/** What was written. */
export interface WrittenImage {
  /** Of the manifest: what a registry calls the image. */
  readonly digest: string
  readonly sizeBytes: number
}

/** Something an archive names by its digest. */
interface Blob {
  readonly digest: string
  readonly sizeBytes: number
  readonly content: Buffer | { readonly file: string }
}

/** Where an image is written to, what it is called, and what it starts: our own parts where nothing is said. */
export interface ImageTarget {
  readonly file: string
  readonly name: string
  readonly entrypoint?: readonly string[]
}

/** Writes `layers` as an image. */
export function writeOciArchive(
  layers: readonly Layer[],
  { file, name, entrypoint = [NODE_PATH, ENTRY_PATH] }: ImageTarget,
): WrittenImage {
  const scratch = mkdtempSync(join(dirname(file), '.image-'))
  try {
    const blobs = layers.map((layer, index) => layerBlob(layer, join(scratch, `${index}.tar`)))
    const config = jsonBlob({
      ...{ architecture: 'amd64', os: 'linux', created: EPOCH },
      config: {
        User: `${IMAGE_USER}:${IMAGE_USER}`,
        Env: [`PATH=${dirname(NODE_PATH)}`],
        Entrypoint: entrypoint,
        WorkingDir: '/',
      },
      rootfs: { type: 'layers', diff_ids: blobs.map(({ digest }) => digest) },
      history: blobs.map(() => ({ created: EPOCH })),
    })
    const manifest = jsonBlob({
      schemaVersion: 2,
      mediaType: `${MEDIA}.manifest.v1+json`,
      config: descriptor(config, `${MEDIA}.config.v1+json`),
      layers: blobs.map((blob) => descriptor(blob, `${MEDIA}.layer.v1.tar`)),
    })
    const index = jsonBlob({
      schemaVersion: 2,
      manifests: [
        {
          ...descriptor(manifest, `${MEDIA}.manifest.v1+json`),
          annotations: {
            'io.containerd.image.name': name,
            'org.opencontainers.image.ref.name': name.split(':').at(-1),
          },
        },
      ],
    })
    const written = join(scratch, 'image.tar')
    const sizeBytes = writeTar(written, [
      ['oci-layout', Buffer.from('{"imageLayoutVersion":"1.0.0"}')],
      ['index.json', index.content],
      ...[manifest, config, ...blobs].map(
        ({ digest, content }) => [`blobs/sha256/${digest.slice('sha256:'.length)}`, content] as const,
      ),
    ])
    renameSync(written, file) // who reads an older one goes on with it
    return { digest: manifest.digest, sizeBytes }
  } finally {
    rmSync(scratch, { recursive: true })
  }
}

/** Paths of a layer with those of the directories above them, in the order of the archive. */
export function layerPaths({ files, directories }: Layer): readonly string[] {
  const paths = new Set([...files.keys(), ...Object.keys(directories)])
  for (const path of paths) if (path.includes('/')) paths.add(dirname(path)) // grows while it is walked
  return [...paths].toSorted((a, b) => (a < b ? -1 : 1))
}

function layerBlob(layer: Layer, file: string): Blob {
  const hash = createHash('sha256')
  const fd = openSync(file, 'wx')
  let sizeBytes = 0
  const put = (bytes: Buffer): void => {
    writeAll(fd, bytes)
    hash.update(bytes)
    sizeBytes += bytes.length
  }
  for (const path of layerPaths(layer)) {
    const entry = layer.files.get(path)
    if (entry === undefined) {
      const mode = layer.directories[path] ?? 0o755
      put(tarHeader({ path, kind: 'directory', mode, sizeBytes: 0 }))
      continue
    }
    const content = contentOf(entry)
    put(tarHeader({ path, kind: 'file', mode: entry.mode, sizeBytes: content.length }))
    put(content)
    put(tarPadding(content.length))
  }
  put(TAR_END)
  closeSync(fd)
  return { digest: `sha256:${hash.digest('hex')}`, sizeBytes, content: { file } }
}

function jsonBlob(value: unknown): Blob & { readonly content: Buffer } {
  const content = Buffer.from(JSON.stringify(value))
  const digest = `sha256:${createHash('sha256').update(content).digest('hex')}`
  return { digest, sizeBytes: content.length, content }
}

function descriptor({ digest, sizeBytes: size }: Blob, mediaType: string): object {
  return { mediaType, digest, size }
}

function writeTar(file: string, entries: readonly (readonly [string, Blob['content']])[]): number {
  const fd = openSync(file, 'w')
  let sizeBytes = 0
  const put = (bytes: Buffer): void => {
    writeAll(fd, bytes)
    sizeBytes += bytes.length
  }
  for (const [path, source] of entries) {
    const content = Buffer.isBuffer(source) ? source : readFileSync(source.file)
    put(tarHeader({ path, kind: 'file', mode: 0o644, sizeBytes: content.length }))
    put(content)
    put(tarPadding(content.length))
  }
  put(TAR_END)
  closeSync(fd)
  return sizeBytes
}

function writeAll(fd: number, bytes: Buffer): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at)
}
