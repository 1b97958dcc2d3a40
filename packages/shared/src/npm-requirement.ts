import type { ReadDependency } from './dependencies.ts'

/**
 * Reads `name`, `@scope/name` or either with `@` and a version, a range or a tag of npm's registry. What it calls
 * normal, npm reads as that package of its registry and as nothing else: no path, archive, address or alias.
 */
export function readNpmRequirement(text: string): ReadDependency {
  const [, name, at, asked = ''] = parts.exec(text) ?? []
  if (name === undefined || name.length > 214)
    return { fault: 'must be the name of an npm package such as lodash@4.17.21 or @scope/name@^1.2' }
  const version = tidy(asked)
  if (archive.test(name) || archive.test(version)) return { fault: 'must not end as the name of a file does' }
  if (at === undefined) return { name, normal: name }
  if (!range.test(version) && !tag.test(version))
    return { fault: `must have a version, a range or a tag of npm's registry after ${name}@` }
  return { name, normal: `${name}@${version}` }
}

/** Of a package, as npm's registry has them; no `-` or `.` comes first. */
const packageName = String.raw`(?:@[a-z0-9][a-z0-9._-]*\/)?[A-Za-z0-9][A-Za-z0-9._-]*`
const parts = new RegExp(`^ *(${packageName})(?:(@)(.+?))? *$`)
const archive = /\.(?:tgz|tar\.gz|tar)$/i
const tag = /^[A-Za-z][A-Za-z0-9._-]*$/

const number = String.raw`(?:0|[1-9]\d{0,15})`
const any = String.raw`[xX*]`
const identifiers = String.raw`[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*`
const whole = String.raw`${number}\.${number}\.${number}(?:-${identifiers})?(?:\+${identifiers})?`
const part = String.raw`${number}(?:\.${number}(?:\.${any})?|(?:\.${any}){1,2})?|${any}(?:\.${any}){0,2}`
const version = `v?(?:${whole}|${part})`
const comparator = `(?:<=|>=|[<>=^]|~>?)?${version}`
const alternative = `(?:${version} - ${version}|${comparator}(?: ${comparator})*)`
const range = new RegExp(`^${alternative}(?: \\|\\| ${alternative})*$`)

function tidy(range: string): string {
  return range
    .replace(/ *\|\| */g, ' || ')
    .replace(/(?<=[<>=^~]) +/g, '')
    .replace(/^ +/, '')
    .replace(/ +/g, ' ')
}
