// SPDX-License-Identifier: Apache-2.0
// What a stream of either version says besides bytes: its header lists.
import type { HeaderList } from '../../mesh/http/header-list.ts'
import type { HttpHeadersHandler, HttpStream } from '../../mesh/http/http-stream.ts'

/** Records header lists of streams. */
export class RecordingHttpHeaders implements HttpHeadersHandler {
  readonly lists: HeaderList[] = []
  readonly ends: boolean[] = []
  onHeaders(_stream: HttpStream, headers: HeaderList, isEnd: boolean): void {
    this.lists.push(headers)
    this.ends.push(isEnd)
  }
}
