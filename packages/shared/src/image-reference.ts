import { plainText } from './text.ts'

/** An image as Docker names it: `docker.io/library/python:3.11@sha256:…`, all that was left out filled in. */
export interface ImageReference {
  domain: string
  path: string
  /** `latest` where neither tag nor digest was given. */
  tag: string | undefined
  digest: string | undefined
}

/** Reads a reference by the grammar of `distribution/reference`; undefined where it is none. */
export function parseImageReference(text: string): ImageReference | undefined {
  const parts = wholeReference.exec(text)?.groups
  if (!parts || isIdentifier.test(text)) return undefined
  const { domain, path } = splitDomain(parts['name']!)
  if (!wholeDomain.test(domain) || !wholePath.test(path)) return undefined
  if (domain.length + 1 + path.length > longestName) return undefined
  const { tag, digest } = parts
  return { domain, path, tag: tag ?? (digest === undefined ? 'latest' : undefined), digest }
}

/** In full, the same for all ways to write it; undefined where it is none. */
export function fullImageName(text: string): string | undefined {
  const reference = parseImageReference(text)
  if (!reference) return undefined
  const { domain, path, tag, digest } = reference
  return `${domain}/${path}${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`
}

/** Any way to write one. */
export const imageName = plainText(512).refine(
  (text) => parseImageReference(text) !== undefined,
  'must be an image reference, such as python:3.13-slim',
)

/** The grammar lets more be a digest; these are all that Engines know. */
const wholeReference =
  /^(?<name>[^@]+?)(?::(?<tag>\w[\w.-]{0,127}))?(?:@(?<digest>sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}))?$/
const wholeDomain =
  /^(?:(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9a-fA-F:]+\])(?::\d+)?$/
const wholePath = /^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*$/
/** What Docker takes for the id of an image. */
const isIdentifier = /^[0-9a-f]{64}$/
const longestName = 255

/** The part before the first slash is a registry only where it can't be the first folder of a path at Docker Hub. */
function splitDomain(name: string): { domain: string; path: string } {
  const slash = name.indexOf('/')
  const first = name.slice(0, Math.max(slash, 0))
  const isDomain = /[.:]/.test(first) || first === 'localhost' || first !== first.toLowerCase()
  const domain = isDomain && first !== 'index.docker.io' ? first : 'docker.io'
  const path = isDomain ? name.slice(slash + 1) : name
  return { domain, path: domain === 'docker.io' && !path.includes('/') ? `library/${path}` : path }
}
