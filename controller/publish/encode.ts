// SPDX-License-Identifier: Apache-2.0
// Delta responses put together from resources that were encoded once. Protobuf allows fields in any order and repeated
// fields in pieces, so the encoded resources are only copied. Field numbers: envoy/discovery.proto.
import { fromBinary, toBinary } from '@bufbuild/protobuf'
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire'
import { DeltaDiscoveryResponseSchema } from '../../proto/generated/envoy/discovery_pb.js'
import type { PublishedResource } from './resource-log.ts'

const RESPONSE_RESOURCES = 2
const RESPONSE_TYPE_URL = 4
const RESPONSE_NONCE = 5
const RESPONSE_REMOVED = 6
const RESOURCE_VERSION = 1
const RESOURCE_BODY = 2
const RESOURCE_NAME = 3
const RESOURCE_ALIASES = 4
const ANY_TYPE_URL = 1
const ANY_VALUE = 2

function text(writer: BinaryWriter, field: number, value: string): void {
  writer.tag(field, WireType.LengthDelimited).string(value)
}

/** One element of DeltaDiscoveryResponse.resources with its tag and length. */
export function encodeResource(
  typeUrl: string,
  name: string,
  version: string,
  aliases: readonly string[],
  bytes: Uint8Array,
): Uint8Array {
  const writer = new BinaryWriter()
  writer.tag(RESPONSE_RESOURCES, WireType.LengthDelimited).fork()
  text(writer, RESOURCE_VERSION, version)
  writer.tag(RESOURCE_BODY, WireType.LengthDelimited).fork()
  text(writer, ANY_TYPE_URL, typeUrl)
  writer.tag(ANY_VALUE, WireType.LengthDelimited).bytes(bytes)
  writer.join()
  text(writer, RESOURCE_NAME, name)
  for (const alias of aliases) text(writer, RESOURCE_ALIASES, alias)
  return writer.join().finish()
}

/** A DeltaDiscoveryResponse. */
export function encodeResponse(
  typeUrl: string,
  nonce: string,
  frames: readonly Uint8Array[],
  removed: readonly string[],
): Buffer {
  const writer = new BinaryWriter()
  text(writer, RESPONSE_TYPE_URL, typeUrl)
  text(writer, RESPONSE_NONCE, nonce)
  for (const name of removed) text(writer, RESPONSE_REMOVED, name)
  return Buffer.concat([writer.finish(), ...frames])
}

/** The frame of a resource under the name a client asked for it by. */
export function frameUnder(name: string, resource: PublishedResource): Uint8Array {
  if (name === resource.name) return resource.frame
  // A frame is a response of one resource.
  const response = fromBinary(DeltaDiscoveryResponseSchema, resource.frame)
  for (const each of response.resources) each.name = name
  return toBinary(DeltaDiscoveryResponseSchema, response)
}
