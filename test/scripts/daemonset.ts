// SPDX-License-Identifier: Apache-2.0
// daemonset.yaml against what it stands for: the rights of the parts, their options, the image that is built.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parseAllDocuments } from 'yaml'
import { readConfig as readControllerConfig } from '../../controller/config.ts'
import { readConfig as readZtunnelConfig } from '../../ztunnel/config.ts'
import { ROOT } from '../support/documents.ts'

interface Variable {
  readonly name: string
  readonly value?: string
}
interface Document {
  readonly kind: string
  readonly metadata: { readonly name: string }
  readonly spec: {
    readonly template: {
      readonly spec: {
        readonly enableServiceLinks: boolean
        readonly containers: readonly { readonly image: string; readonly env: readonly Variable[] }[]
      }
    }
  }
}

const read = (file: string): readonly Document[] =>
  parseAllDocuments(readFileSync(join(ROOT, file), 'utf8')).map((each) => each.toJS() as Document) // as: ours
const documents = read('daemonset.yaml')
const rights = ['controller/rbac.yaml', 'ztunnel/rbac.yaml']
  .filter((file) => existsSync(join(ROOT, file)))
  .flatMap(read)

t.test('the rights are those that the parts are tested with, and no others', async (t) => {
  const isRight = ({ kind }: Document): boolean => /Role|ServiceAccount/.test(kind)
  const key = ({ kind, metadata }: Document): string => `${kind} ${metadata.name}`
  const found = documents.filter(isRight)
  const wanted = new Map(rights.filter(isRight).map((each) => [JSON.stringify(each), each]))
  t.same(
    [...wanted]
      .filter(([text]) => !found.some((each) => JSON.stringify(each) === text))
      .map(([, each]) => key(each)),
    [],
    'all are there as they are',
  )
  t.same(
    found.filter((each) => !wanted.has(JSON.stringify(each))).map(key),
    existsSync(join(ROOT, 'ztunnel/rbac.yaml')) ? [] : ['ServiceAccount ztunnel'],
    'nothing else is',
  )
})

t.test('every variable is an option, and together they make sense', async (t) => {
  const parts = { Deployment: readControllerConfig, DaemonSet: readZtunnelConfig }
  for (const [kind, readConfig] of Object.entries(parts)) {
    const { enableServiceLinks, containers } =
      documents.find((each) => each.kind === kind)?.spec.template.spec ?? {}
    const env = Object.fromEntries((containers?.[0]?.env ?? []).map(({ name, value = 'x' }) => [name, value]))
    t.ok(Object.keys(env).length > 1)
    t.same(readConfig([], { ...env, KUBERNETES_SERVICE_HOST: '10.0.0.1' }).mistakes, [], kind)
    t.equal(enableServiceLinks, false, 'variables of a Service of our name would be options')
  }
})

t.test('all run the image that image/build.ts names, in the version of the package', async (t) => {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  const image = `docker.io/sidestep/sidestep:${version}`
  const images = documents.flatMap(
    ({ spec }) => spec?.template?.spec.containers.map((each) => each.image) ?? [],
  )
  t.same(images, [image, image])
  t.ok(readFileSync(join(ROOT, 'image/build.ts'), 'utf8').includes(`'${image}'`))
})
