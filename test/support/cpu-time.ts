// SPDX-License-Identifier: Apache-2.0
// What work costs by the processor's time: a test that says "bounded" must not depend on who else wants the processor.

/** Starts to count; the returned function gives the milliseconds of processor time of this process since. */
export function startCpuTime(): () => number {
  const before = process.cpuUsage()
  return () => {
    const { user, system } = process.cpuUsage(before)
    return (user + system) / 1000
  }
}
