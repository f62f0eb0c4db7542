// SPDX-License-Identifier: Apache-2.0
// A directory for processes of a test, removed after they have ended.

/** As much of a test as is needed. */
interface DirectoryTest {
  testdir(): string
  teardown(run: () => void): void
}

/**
 * Empty. tap removes a directory before it runs what was registered for the end after it, while processes still write there; when
 * that fails it ends nothing, and the test hangs. So something is registered before.
 */
export function labDirectory(t: DirectoryTest): string {
  t.teardown(() => {})
  return t.testdir()
}
