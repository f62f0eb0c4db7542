// SPDX-License-Identifier: Apache-2.0
// Why one resource is refused, in the words of the NACK.
export class ResourceError extends Error {
  override readonly name = 'ResourceError'
}
