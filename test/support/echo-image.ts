// SPDX-License-Identifier: Apache-2.0
// The image that the pods of the conformance suite want, made of our own echo (test/conformance/echo): Node and packages are
// the layers of our own image, so that nodes have them already.
import { execFileSync } from 'node:child_process'
import { globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ImageFile, imageLayers, NODE_PATH } from '../../image/contents.ts'
import { writeOciArchive } from '../../image/oci-archive.ts'
import { ROOT } from './documents.ts'

/** As the suite's mesh/manifests.yaml calls it. */
export const ECHO_IMAGE = 'registry.k8s.io/gateway-api/echo-advanced:v1.5.1'
const ECHO = 'test/conformance/echo'

/** Writes the image to an OCI archive. */
export function writeEchoImage(file: string): void {
  const files = new Map<string, ImageFile>()
  for (const path of globSync(`${ECHO}/*.ts`, { cwd: ROOT }))
    files.set(`app/${path}`, { mode: 0o644, source: join(ROOT, path) })
  // Started for every request of the suite: what was compiled once is kept.
  const client = `#!/bin/sh\nNODE_COMPILE_CACHE=/tmp/compiled exec ${NODE_PATH} /app/${ECHO}/client.ts "$@"\n`
  files.set('usr/local/bin/client', { mode: 0o755, text: client })
  const { certificate, key } = selfSigned()
  files.set('cert.crt', { mode: 0o644, text: certificate })
  files.set('cert.key', { mode: 0o644, text: key })
  const [base, packages] = imageLayers(ROOT)
  if (base === undefined || packages === undefined) throw new Error('an image without layers')
  const entrypoint = [NODE_PATH, `/app/${ECHO}/server.ts`]
  writeOciArchive([base, packages, { files, directories: {} }], { file, name: ECHO_IMAGE, entrypoint })
}

/** A certificate of nobody's and its key, PEM. */
export function selfSigned(): { readonly certificate: string; readonly key: string } {
  const directory = mkdtempSync(join(tmpdir(), 'echo-image-'))
  const [key, certificate] = [join(directory, 'key'), join(directory, 'crt')]
  try {
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1']
    const args = ['req', '-x509', ...curve, '-nodes', '-days', '3650', '-subj', '/CN=echo']
    execFileSync('openssl', [...args, '-keyout', key, '-out', certificate], { stdio: 'ignore' })
    return { certificate: readFileSync(certificate, 'utf8'), key: readFileSync(key, 'utf8') }
  } finally {
    rmSync(directory, { recursive: true })
  }
}
