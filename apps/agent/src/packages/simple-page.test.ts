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

test('a page takes the time of its length and no more, and one of too many parts is refused', () => {
  const read = (html: string): string => {
    try {
      return `${linksOf(html).length} links`
    } catch (error) {
      return (error as Error).message
    }
  }
  const begun = performance.now()
  const refusal = 'a page of the index has more than 1000000 parts'
  const [links, far] = ['<a href="x">'.repeat(50_000), 'f'.repeat(2 * 1_048_576)]
  expect(read(`${'<b>'.repeat(200_000)}${'</i>'.repeat(200_000)}${links}`)).toBe('50000 links')
  expect(read(`<base href="/${far}/">${links}`)).toBe('50000 links')
  expect(read(`<a ${Array.from({ length: 200_000 }, (_, n) => `a${n}=`).join(' ')} href="x">`)).toBe(
    '1 links',
  )
  expect(read('<!--'.repeat(1_000_000))).toBe('0 links')
  for (const [head, part] of [
    ['', '<b>'],
    ['', '</b>'],
    ['', '&amp;'],
    ['<a ', 'a=1 '],
    ['<a a="', '&amp;'],
  ])
    expect(read(head + part!.repeat(2_000_000))).toBe(refusal)
  expect(performance.now() - begun).toBeLessThan(20_000)
})
