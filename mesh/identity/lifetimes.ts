// SPDX-License-Identifier: Apache-2.0
// How long certificates of the mesh are good for, whoever signs them. SPEC HBONE §2: as istiod.

/** Certificates begin so long ago: tolerates peers whose clocks are two minutes behind. */
export const BACKDATE_MS = 120_000
/** Lifetime when none is asked for: 24 h. */
export const DEFAULT_TTL_SECONDS = 86_400
/** Longest lifetime that is granted, in s: 90 days. */
export const MAX_TTL_SECONDS = 90 * 86_400
/** Of a root: ten years, because replacing one is an operation, not routine. */
export const ROOT_LIFETIME_MS = 3650 * 86_400_000
