// SPDX-License-Identifier: Apache-2.0
// The one method of the echo's service, which is that of the echo that the suite expects: both messages are one text.
import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire'

/** Of both messages the only field, `message`. */
const MESSAGE_FIELD = 1
const write = (message: string): Buffer =>
  Buffer.from(new BinaryWriter().tag(MESSAGE_FIELD, WireType.LengthDelimited).string(message).finish())
function read(bytes: Buffer): string {
  const reader = new BinaryReader(bytes)
  let message = ''
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag()
    if (field === MESSAGE_FIELD && wireType === WireType.LengthDelimited) message = reader.string()
    else reader.skip(wireType, field)
  }
  return message
}

/** As grpc-js wants it. */
export const ECHO_METHOD = {
  path: '/proto.EchoTestService/Echo',
  requestStream: false,
  responseStream: false,
  requestSerialize: write,
  requestDeserialize: read,
  responseSerialize: write,
  responseDeserialize: read,
} as const
