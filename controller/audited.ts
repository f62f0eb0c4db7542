// SPDX-License-Identifier: Apache-2.0
// Whatever a person changes through admin leaves a record, whether it succeeded or not.
import { MeshError } from '../mesh/errors/mesh-error.ts'
import type { App } from './app.ts'
import type { AdminEvent } from './ca/audit.ts'

/** Does something and writes down what became of it; `tell` replaces the detail. @throws what `work` throws */
export async function audited<T>(
  app: App,
  event: AdminEvent,
  detail: string,
  work: (tell: (detail: string) => void) => Promise<T>,
): Promise<T> {
  let told = detail
  const { audit } = app
  const record = { event, account: 'admin', node: '', peer: 'admin socket', identity: '' }
  try {
    const result = await work((newer) => {
      told = newer
    })
    await audit.write({ ...record, atMs: app.nowMs, reason: 'OK', detail: told })
    return result
  } catch (cause) {
    const error = cause instanceof MeshError ? cause : new MeshError('INTERNAL', { cause })
    const why = [told, error.detail].filter((part) => part !== '').join(': ')
    await audit.write({ ...record, atMs: app.nowMs, reason: error.code, detail: why })
    throw cause
  }
}
