// SPDX-License-Identifier: Apache-2.0
// Errors of the operating system, told by their symbol.

/** True for an error of that errno: `ENOENT`, `EEXIST` … */
export function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
