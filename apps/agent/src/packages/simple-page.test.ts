import { expect, test } from 'vitest'
import { rewriteSimplePage } from './simple-page.ts'

const page = new URL('http://index/simple/x/')

/** The URLs of the links of a page. */
function linksOf(html: string): string[] {
  const found: string[] = []
  rewriteSimplePage(html, page, ({ href }) => void found.push(href))
  return found
}

test('links are read as browsers do, and with what pip heeds', () => {
  expect(
    linksOf('<A HREF=a.whl>x</A><a class="x" href="../b?c&amp;d#e">y</a><a>z</a><!-- <a href="no"> -->'),
  ).toEqual(['http://index/simple/x/a.whl', 'http://index/simple/b?c&d#e'])
  const html = '<a href="a" data-requires-python="&gt;=3" data-other="x" href="b" data-yanked>'
  expect(rewriteSimplePage(html, page, ({ pathname }) => pathname)).toContain(
    '<a href="/simple/x/a" data-requires-python="&#62;=3" data-yanked="">file</a>',
  )
})

test('the first base is the one that counts, unless it is longer than any link may be', () => {
  expect(linksOf('<base href="/files/"/><base href="/other/"><a href="a">')).toEqual(['http://index/files/a'])
  expect(linksOf(`<base href="/${'f'.repeat(5_000)}/"><base href="/other/"><a href="a">`)).toEqual([
    'http://index/simple/x/a',
  ])
})

test('the time that a page takes grows with its length and no faster', () => {
  const links = '<a href="x">'.repeat(100_000)
  const pages = [
    '<b>'.repeat(1_000_000),
    `${'<b>'.repeat(1_000_000)}${'</i>'.repeat(1_000_000)}`,
    `<base href="/${'f'.repeat(4 * 1_048_576)}/">${links}`,
    `<a ${Array.from({ length: 300_000 }, (_, n) => `a${n}=`).join(' ')}>`,
    `<a href="${'&amp;'.repeat(1_000_000)}">`,
    '<base href="y">'.repeat(1_000_000),
    '<!--'.repeat(1_000_000),
  ]
  const begun = performance.now()
  for (const html of pages) linksOf(html)
  expect(performance.now() - begun).toBeLessThan(20_000)
})
