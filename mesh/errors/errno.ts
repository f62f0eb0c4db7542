// SPDX-License-Identifier: Apache-2.0
// Errors of the operating system, told by their symbol.

/** True for an error of that errno: `ENOENT`, `EEXIST` … */
export function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}

/** The reason for which node could not open a file, when the fault is our own: no descriptors, no right. Null otherwise. */
export function reasonOfOpen(error: unknown): 'OUT_OF_DESCRIPTORS' | 'MISSING_CAPABILITY' | null {
  const code = error instanceof Error && 'code' in error ? error.code : ''
  if (code === 'EMFILE' || code === 'ENFILE') return 'OUT_OF_DESCRIPTORS'
  return code === 'EACCES' || code === 'EPERM' ? 'MISSING_CAPABILITY' : null
}
