// SPDX-License-Identifier: Apache-2.0
// Which requests are logged: the part of CEL that filters of access logs are written in. Comparisons of attributes with
// constants, `has()`, text functions, joined by `&&`, `||`, `!` and brackets. Read once; asking costs no allocation. What an
// attribute has nothing for makes its comparison false. SPEC ISTIO-API telemetry/v1 AccessLogging.Filter; CEL.

/** What a request has; undefined: it has none. */
export interface ExpressionFacts {
  number(attribute: NumberAttribute): number | undefined
  text(attribute: TextAttribute): string | undefined
  /** First value of a header, by its lower-case name. */
  header(of: 'request' | 'response', name: string): string | undefined
}

const NUMBERS = ['response.code', 'response.grpc_status', 'request.size', 'response.size'] as const
const TEXTS = [
  ...['request.method', 'request.path', 'request.url_path', 'request.host', 'request.useragent'],
  ...['request.id', 'request.protocol', 'response.flags', 'source.address', 'source.principal'],
] as const
const FLAGS = ['connection.mtls'] as const
const FUNCTIONS = ['startsWith', 'endsWith', 'contains'] as const

/** Status, gRPC status, bytes of the bodies. */
export type NumberAttribute = (typeof NUMBERS)[number]
/** `request.path` has the query, `request.url_path` not. */
export type TextAttribute = (typeof TEXTS)[number]

/** Whether a request is meant. */
export type LogExpression = (facts: ExpressionFacts) => boolean

/** Characters of an expression: it is asked for every request. */
export const MAX_EXPRESSION_CHARS = 1024

type Value = number | string | boolean | undefined
type Term =
  | { readonly type: 'number' | 'text' | 'flag'; readonly get: (facts: ExpressionFacts) => Value }
  | { readonly type: 'test'; readonly get: LogExpression }

type Token = string

const TOKEN =
  /\s*(?:(&&|\|\||==|!=|<=|>=|[<>!()[\].,])|([A-Za-z_][A-Za-z0-9_]*)|(\d{1,15})|("(?:[^"\\\n]|\\["'\\])*"|'(?:[^'\\\n]|\\["'\\])*'))/y

/** What went wrong, at which character. */
class Mistake extends Error {}

/** Reads an expression; a text: what is wrong with it, for people. */
export function parseLogExpression(text: string): LogExpression | string {
  if (text.length > MAX_EXPRESSION_CHARS) return `it is longer than ${MAX_EXPRESSION_CHARS} characters`
  const tokens = tokensOf(text)
  if (typeof tokens === 'string') return tokens
  try {
    return new Parser(tokens).whole()
  } catch (error) {
    if (error instanceof Mistake) return error.message
    throw error
  }
}

function tokensOf(text: string): Token[] | string {
  const tokens: Token[] = []
  const pattern = new RegExp(TOKEN)
  const end = text.trimEnd().length
  while (pattern.lastIndex < end) {
    const at = pattern.lastIndex
    const match = pattern.exec(text)
    if (match === null) return `it is not understood at character ${at + 1}`
    tokens.push(match[0].trimStart())
  }
  return tokens
}

/** Depth of brackets and `!`: nobody writes more. */
const MAX_NESTING = 32

class Parser {
  readonly #tokens: readonly Token[]
  #at = 0
  #depth = 0

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens
  }

  whole(): LogExpression {
    const expression = this.#or()
    const [left] = this.#tokens.slice(this.#at)
    if (left !== undefined) throw new Mistake(`nothing is expected at ${left}`)
    return expression
  }

  #or(): LogExpression {
    let left = this.#and()
    while (this.#take('||')) {
      const [first, second] = [left, this.#and()]
      left = (facts) => first(facts) || second(facts)
    }
    return left
  }

  #and(): LogExpression {
    let left = this.#not()
    while (this.#take('&&')) {
      const [first, second] = [left, this.#not()]
      left = (facts) => first(facts) && second(facts)
    }
    return left
  }

  #not(): LogExpression {
    if (!this.#take('!')) return this.#comparison()
    const inner = this.#nested(() => this.#not())
    return (facts) => !inner(facts)
  }

  #comparison(): LogExpression {
    if (this.#take('(')) {
      const inner = this.#nested(() => this.#or())
      this.#expect(')')
      return inner
    }
    const left = this.#term()
    const sign = this.#sign()
    if (sign !== null) return compared(left, sign, this.#term())
    if (left.type === 'test') return left.get
    if (left.type === 'flag') return (facts) => left.get(facts) === true
    throw new Mistake('a comparison is expected, as response.code >= 400')
  }

  #term(): Term {
    const token = this.#next()
    if (/^\d/.test(token)) return { type: 'number', get: () => Number(token) }
    if (/^["']/.test(token)) return this.#functions(constantText(token))
    if (token === 'true' || token === 'false') return { type: 'flag', get: () => token === 'true' }
    if (token === 'has') return this.#has()
    if (!/^[A-Za-z_]/.test(token)) throw new Mistake(`an attribute or a constant is expected at ${token}`)
    return this.#functions(this.#attribute(token))
  }

  #has(): Term {
    this.#expect('(')
    const attribute = this.#attribute(this.#next())
    this.#expect(')')
    return { type: 'test', get: (facts) => attribute.get(facts) !== undefined }
  }

  /** `request.path`, `request.headers['x-a']`. */
  #attribute(root: Token): Exclude<Term, { readonly type: 'test' }> {
    this.#expect('.')
    const name = `${root}.${this.#next()}`
    if (name === 'request.headers' || name === 'response.headers') {
      this.#expect('[')
      const key = unquoted(this.#next())
      this.#expect(']')
      const of = name === 'request.headers' ? 'request' : 'response'
      return { type: 'text', get: (facts) => facts.header(of, key.toLowerCase()) }
    }
    const number = NUMBERS.find((each) => each === name)
    if (number !== undefined) return { type: 'number', get: (facts) => facts.number(number) }
    const text = TEXTS.find((each) => each === name)
    if (text !== undefined) return { type: 'text', get: (facts) => facts.text(text) }
    if (name === FLAGS[0])
      return { type: 'flag', get: (facts) => facts.text('source.principal') !== undefined }
    throw new Mistake(
      `${name} is not known; there are ${[...NUMBERS, ...TEXTS, ...FLAGS].join(', ')}, request.headers, response.headers`,
    )
  }

  #functions(subject: Exclude<Term, { readonly type: 'test' }>): Term {
    if (subject.type !== 'text' || !this.#take('.')) return subject
    const name = this.#next()
    const called = FUNCTIONS.find((each) => each === name)
    if (called === undefined) throw new Mistake(`${name} is not known; there are ${FUNCTIONS.join(', ')}`)
    this.#expect('(')
    const part = unquoted(this.#next())
    this.#expect(')')
    return {
      type: 'test',
      get: (facts) => {
        const value = subject.get(facts)
        return typeof value === 'string' && value[called === 'contains' ? 'includes' : called](part)
      },
    }
  }

  #sign(): Sign | null {
    const token = this.#tokens[this.#at]
    const sign = SIGNS.find((each) => each === token)
    if (sign === undefined) return null
    this.#at++
    return sign
  }

  #nested(read: () => LogExpression): LogExpression {
    if (++this.#depth > MAX_NESTING) throw new Mistake('it has too many brackets in brackets')
    const inner = read()
    this.#depth--
    return inner
  }

  #take(token: Token): boolean {
    const isThere = this.#tokens[this.#at] === token
    if (isThere) this.#at++
    return isThere
  }

  #next(): Token {
    const token = this.#tokens[this.#at++]
    if (token === undefined) throw new Mistake('it ends too early')
    return token
  }

  #expect(token: Token): void {
    const found = this.#next()
    if (found !== token) throw new Mistake(`${token} is expected at ${found}`)
  }
}

const SIGNS = ['==', '!=', '<', '<=', '>', '>='] as const
type Sign = (typeof SIGNS)[number]

function constantText(token: Token): Exclude<Term, { readonly type: 'test' }> {
  const text = unquoted(token)
  return { type: 'text', get: () => text }
}

function unquoted(token: Token): string {
  if (!/^["']/.test(token)) throw new Mistake(`a text in quotes is expected at ${token}`)
  return token.slice(1, -1).replace(/\\(.)/g, '$1')
}

function compared(left: Term, sign: Sign, right: Term): LogExpression {
  if (left.type !== right.type || left.type === 'test')
    throw new Mistake('values of two types are compared; a text is written in quotes, a number without')
  if (left.type !== 'number' && sign !== '==' && sign !== '!=')
    throw new Mistake(`${sign} compares numbers only`)
  const [get, other] = [left.get, right.get]
  return (facts) => {
    const [a, b] = [get(facts), other(facts)]
    return a !== undefined && b !== undefined && holds(a, sign, b)
  }
}

function holds(a: number | string | boolean, sign: Sign, b: number | string | boolean): boolean {
  switch (sign) {
    case '==':
      return a === b
    case '!=':
      return a !== b
    case '<':
      return a < b
    case '<=':
      return a <= b
    case '>':
      return a > b
    case '>=':
      return a >= b
  }
}
