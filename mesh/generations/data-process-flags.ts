// SPDX-License-Identifier: Apache-2.0
// How Node runs both processes. Whoever fills their compile cache uses the same flags: V8 keeps code by flags.

/**
 * Small young generations keep idle memory low; a debugger must not be opened by a signal; gc() is for the trim, which
 * must not throw away compiled code: the first connections after it would pay for compiling again. Nothing that a request
 * needs is made old from the start, as V8 does where objects have lived for long: all that hangs on it would stay with it.
 */
export const DATA_PROCESS_FLAGS: readonly string[] = [
  '--disable-sigusr1',
  '--expose-gc',
  '--max-semi-space-size=4',
  '--no-allocation-site-pretenuring',
  '--no-flush-bytecode',
  '--no-warnings',
]
