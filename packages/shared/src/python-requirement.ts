import type { ReadDependency } from './dependencies.ts'

/**
 * Reads a requirement by the grammar of PEP 508, without its URLs: name, extras, version specifiers of PEP 440,
 * environment marker. What it calls normal, pip reads as that one requirement and as nothing else, on its command line
 * as in a requirements file: there no options, comments, variables or paths can stand in it.
 */
export function readPythonRequirement(text: string): ReadDependency {
  const at = new Reader(text)
  try {
    const name = canonical(at.take(identifier, 'a name of letters, digits, ".", "_" or "-"'))
    if (at.sees(/@/y)) at.fail('must not name a URL: packages come from the index of the executor')
    const extras = at.skip(/\[/y) ? extrasOf(at) : []
    const specifiers = at.skip(/\(/y) ? specifiersOf(at, /\)/y) : specifiersOf(at)
    const marker = at.skip(/;/y) ? `; ${anyOf(at).text}` : ''
    at.end()
    const normal = `${name}${extras.length > 0 ? `[${extras.join(',')}]` : ''}${specifiers.join(',')}`
    // pip looks at the end before it looks for versions.
    if (archive.test(normal)) at.fail('must not end as the name of a file does')
    return { name, normal: normal + marker }
  } catch (error) {
    if (error instanceof Fault) return { fault: error.message }
    throw error
  }
}

const identifier = /[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?/y
const archive = /\.(?:zip|whl|tar|tgz|tbz|txz|tlz|bz2|gz|xz|lz|lzma)$/i

/** As indexes name a package (PEP 503). */
function canonical(name: string): string {
  return name.toLowerCase().replace(/[-_.]+/g, '-')
}

function extrasOf(at: Reader): string[] {
  const extras = new Set<string>()
  do extras.add(at.take(identifier, 'the name of an extra').toLowerCase())
  while (at.skip(/,/y))
  at.take(/\]/y, '"," or "]"')
  return [...extras].toSorted()
}

function specifiersOf(at: Reader, close?: RegExp): string[] {
  const found = new Set<string>()
  if (close || at.sees(/[~=!<>]/y))
    do {
      const operator = at.take(/~=|===?|!=|[<>]=?/y, 'a comparison such as >= or ==')
      found.add(operator + at.take(versionFor(operator), `a version (PEP 440) that ${operator} compares`))
    } while (at.skip(/,/y))
  if (close) at.take(close, '"," or ")"')
  return [...found].map((one) => one.toLowerCase()).toSorted()
}

function versionFor(operator: string): RegExp {
  if (operator === '~=') return compatible
  if (operator === '===') return whole
  return operator === '==' || operator === '!=' ? prefixOrWhole : ordered
}

const release = String.raw`(?:\d+!)?\d+(?:\.\d+)*`
const suffixes = String.raw`(?:[-_.]?(?:alpha|beta|preview|pre|a|b|c|rc)[-_.]?\d*)?(?:-\d+|[-_.]?(?:post|rev|r)[-_.]?\d*)?(?:[-_.]?dev[-_.]?\d*)?`
const local = String.raw`(?:\+[a-z0-9]+(?:[-_.][a-z0-9]+)*)?`
/** What may not follow: a version is read to its end. */
const ended = String.raw`(?![A-Za-z0-9._+!*-])`
const version = (pattern: string): RegExp => new RegExp(`v?${pattern}${ended}`, 'iy')
const ordered = version(release + suffixes)
const whole = version(release + suffixes + local)
const prefixOrWhole = version(String.raw`${release}(?:\.\*|${suffixes}${local})`)
const compatible = version(String.raw`(?:\d+!)?\d+(?:\.\d+)+${suffixes}`)

/** A marker or a part of it; `either` where `or` joins it, which binds less than `and`. */
interface Marker {
  text: string
  either: boolean
}

function anyOf(at: Reader): Marker {
  const parts = [allOf(at)]
  while (at.skip(/or\b/y)) parts.push(allOf(at))
  return parts.length === 1 ? parts[0]! : { text: parts.map(({ text }) => text).join(' or '), either: true }
}

function allOf(at: Reader): Marker {
  const parts = [condition(at)]
  while (at.skip(/and\b/y)) parts.push(condition(at))
  return parts.length === 1
    ? parts[0]!
    : { text: parts.map(({ text, either }) => (either ? `(${text})` : text)).join(' and '), either: false }
}

function condition(at: Reader): Marker {
  if (at.skip(/\(/y)) {
    const inner = anyOf(at)
    at.take(/\)/y, '"and", "or" or ")"')
    return inner
  }
  // pip can compare nothing else.
  const variableFirst = !at.sees(/["']/y)
  const left = variableFirst ? variableOf(at) : quoted(at)
  const operator = at.take(/~=|===?|!=|[<>]=?|in\b|not +in\b/y, 'a comparison').replace(/ +/, ' ')
  const right = variableFirst ? quoted(at) : variableOf(at)
  return { text: `${left} ${operator} ${right}`, either: false }
}

function variableOf(at: Reader): string {
  return at.take(variable, 'a variable such as python_version or sys_platform')
}

const variable =
  /(?:python_version|python_full_version|os_name|sys_platform|platform_(?:release|system|version|machine|python_implementation)|implementation_(?:name|version)|extra)\b/y

function quoted(at: Reader): string {
  return `"${at.take(quotedWords, 'words in quotes, of letters, digits and . _ + * , -').slice(1, -1)}"`
}

/** Few characters: a requirements file has comments, variables, options and continued lines. */
const quotedWords = /(["'])(?:[A-Za-z0-9._+*,-]+(?: [A-Za-z0-9][A-Za-z0-9._+*,-]*)*)?\1/y

class Fault extends Error {}

/** Takes one thing after the other from a text; spaces before each do not count. */
class Reader {
  readonly #text: string
  #position = 0

  constructor(text: string) {
    this.#text = text
  }

  sees(what: RegExp): boolean {
    return this.#match(what) !== undefined
  }

  skip(what: RegExp): boolean {
    const found = this.#match(what)
    if (found !== undefined) this.#position += found.length
    return found !== undefined
  }

  take(what: RegExp, expected: string): string {
    const found = this.#match(what)
    if (found === undefined) this.#unexpected(expected)
    this.#position += found.length
    return found
  }

  end(): void {
    if (this.#match(/$/y) === undefined) this.#unexpected('its end')
  }

  fail(message: string): never {
    throw new Fault(message)
  }

  #unexpected(expected: string): never {
    throw new Fault(
      `must be a requirement such as requests>=2.31 (PEP 508): ${expected} is expected at character ${this.#position + 1}`,
    )
  }

  #match(what: RegExp): string | undefined {
    while (this.#text[this.#position] === ' ') this.#position += 1
    what.lastIndex = this.#position
    return what.exec(this.#text)?.[0]
  }
}
