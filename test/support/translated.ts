// SPDX-License-Identifier: Apache-2.0
// Translations for tests: of YAML, with the settings that most of them share.
import { createRegistry } from '@bufbuild/protobuf'
import { Translator } from '../../controller/translate/translate.ts'
import type { TranslateSettings, Translation } from '../../controller/translate/translation.ts'
import { PortNamesSchema } from '../../proto/generated/sidestep/v1/services_pb.js'
import { WorkloadLabelsSchema } from '../../proto/generated/sidestep/v1/workloads_pb.js'
import { parseObjects, viewOf } from './yaml-objects.ts'

/** What resources carry as extensions, for their JSON. */
export const EXTENSIONS = createRegistry(WorkloadLabelsSchema, PortNamesSchema)

export const SETTINGS: TranslateSettings = {
  clusterId: 'Kubernetes',
  trustDomain: 'cluster.local',
  network: '',
  rootNamespace: 'istio-system',
  clusterDomain: 'cluster.local',
  autoAddressRange: '240.240.0.0/16',
  enrolmentIsTold: false,
}

/** Translates a text once. */
export function translateYaml(text: string, settings: Partial<TranslateSettings> = {}): Translation {
  return new Translator({ ...SETTINGS, ...settings }).translate(viewOf(parseObjects(text)))
}

/** `CODE path` of each finding, in order. */
export function findingsOf({ findings }: Translation): string[] {
  return findings.map(({ code, path }) => `${code} ${path}`.trimEnd())
}
