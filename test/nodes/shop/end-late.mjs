// SPDX-License-Identifier: Apache-2.0
// A server that is told to end serves on until nobody knows its address any more, as a good one does.
const SERVES_ON_MS = 6_000
process.on('SIGTERM', () => setTimeout(() => process.exit(0), SERVES_ON_MS))
