import { describe, expect, it } from 'vitest'
import { storableJson } from './storable-text.ts'

describe('storableJson', () => {
  it('gives what can be stored as it is', () => {
    const given = { text: 'é\u{1F600}\\u0000\n', list: [1, null, true] }
    expect(storableJson(given)).toEqual(given)
  })

  it('replaces NUL and halves of surrogate pairs in every text', () => {
    const given = { text: 'a\0b', list: ['\ud83d', { deep: 'x\udc00y' }], whole: '\u{1F600}' }
    expect(storableJson(given)).toEqual({
      text: 'a\uFFFDb',
      list: ['\uFFFD', { deep: 'x\uFFFDy' }],
      whole: '\u{1F600}',
    })
  })
})
