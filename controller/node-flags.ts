// SPDX-License-Identifier: Apache-2.0
// How Node runs the controller. The first line of main.ts says the same, for who starts it by its name.

/**
 * A small young generation and old generation that grows by little: between bursts the controller holds what lives and
 * not twice as much. Costs a few per cent of a push.
 */
export const NODE_FLAGS: readonly string[] = [
  '--disable-sigusr1',
  '--heap-growing-percent=20',
  '--max-semi-space-size=4',
  '--no-warnings',
]
