import { Parser } from 'htmlparser2'

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
  let base = page
  const parser = new Parser({
    onopentag(tag, { href, ...attributes }) {
      const url = href !== undefined && (tag === 'a' || tag === 'base') ? URL.parse(href, base) : null
      if (url === null) return
      if (tag === 'base') base = url
      const replaced = tag === 'a' ? link(url) : undefined
      if (replaced !== undefined) anchors.push(anchor(replaced, attributes))
    },
  })
  parser.end(html)
  return pageOf(anchors)
}

function pageOf(anchors: readonly string[]): string {
  return `<!DOCTYPE html>\n<html><body>\n${anchors.join('')}</body></html>\n`
}

function anchor(href: string, attributes: Record<string, string> = {}): string {
  const heeded = Object.entries(attributes).filter(([name]) => heededNames.has(name))
  const all = [['href', href] as const, ...heeded].map(([name, value]) => ` ${name}="${escaped(value)}"`)
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
