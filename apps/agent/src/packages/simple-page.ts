import { Tokenizer } from 'htmlparser2'
import { IndexFault } from './index-source.ts'

/** A page of Python's simple index (PEP 503). */
export function simplePage(hrefs: readonly string[]): string {
  return pageOf(hrefs.map((href) => anchor(href)))
}

/**
 * The same page with other links, whatever else was in it: those that `link` gives for their URLs, with the attributes
 * that pip heeds. Where it gives undefined, the link is left out.
 */
export function rewriteSimplePage(html: string, page: URL, link: (url: URL) => string | undefined): string {
  const anchors: string[] = []
  let base: URL | undefined
  readTags(html, (tag, { href, ...attributes }) => {
    const isBase = tag === 'base' && base === undefined
    if (href === undefined || (tag !== 'a' && !isBase)) return
    const url = URL.parse(href, base ?? page)
    if (url === null) return
    // Each link is read against it: what is longer than any URL that we ask for leads nowhere, and would take hours.
    if (isBase) base = url.href.length > longestBase ? page : url
    const replaced = isBase ? undefined : link(url)
    if (replaced !== undefined) anchors.push(anchor(replaced, attributes))
  })
  return pageOf(anchors)
}

const longestBase = 4_096

/** Tags, attributes and entities of one page: more take seconds, in which the agent does nothing else. */
const mostParts = 1_000_000

/**
 * Each opening tag with those of its attributes that mean something here, the first of a name. Not by the library's own `Parser`: that keeps what is open, for
 * which it takes the longer the more that is, seconds for a page of a megabyte.
 *
 * @throws {IndexFault} where there are too many
 */
function readTags(html: string, tell: (name: string, attributes: Record<string, string>) => void): void {
  let tag = ''
  let attributes: Record<string, string> = {}
  let name = ''
  let value = ''
  let parts = 0
  const count = (): void => {
    parts += 1
    if (parts > mostParts) throw new IndexFault(502, `a page of the index has more than ${mostParts} parts`)
  }
  const ignored = (): void => {}
  const end = (): void => tell(tag, attributes)
  const tokenizer = new Tokenizer(
    { decodeEntities: true },
    {
      onopentagname(from, to) {
        count()
        tag = html.slice(from, to).toLowerCase()
        attributes = {}
      },
      onattribname(from, to) {
        count()
        name = html.slice(from, to).toLowerCase()
        value = ''
      },
      onattribdata: (from, to) => void (value += html.slice(from, to)),
      onattribentity(codepoint) {
        count()
        value += String.fromCodePoint(codepoint)
      },
      onattribend() {
        if (name === 'href' || heededNames.has(name)) attributes[name] ??= value
      },
      onopentagend: end,
      onselfclosingtag: end,
      oncdata: ignored,
      onclosetag: count,
      oncomment: ignored,
      ondeclaration: ignored,
      onend: ignored,
      onprocessinginstruction: ignored,
      ontext: ignored,
      ontextentity: count,
    },
  )
  tokenizer.write(html)
  tokenizer.end()
}

function pageOf(anchors: readonly string[]): string {
  return `<!DOCTYPE html>\n<html><body>\n${anchors.join('')}</body></html>\n`
}

function anchor(href: string, attributes: Record<string, string> = {}): string {
  const all = Object.entries({ href, ...attributes }).map(([name, value]) => ` ${name}="${escaped(value)}"`)
  // pip takes the name from the link.
  return `<a${all.join('')}>file</a>\n`
}

const heededNames = new Set([
  'data-requires-python',
  'data-yanked',
  'data-core-metadata',
  'data-dist-info-metadata',
])

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`)
}
