/** A notice holds less than 8,000 bytes: the head of a letter, and so much of its text. */
const pieceBytes = 7_900

/**
 * Puts any number of JSON values into as many notices as they take, and together again. The notices of one letter are
 * sent in one statement, so they come in their order and together or not at all.
 */
export function createLetters(sender: string) {
  let number = 0
  /** What has come of letters that are not whole yet, by their sender. */
  const begun = new Map<string, { letter: string; pieces: string[] }>()

  return {
    /** Values as JSON. No two notices are alike: PostgreSQL would send them once. */
    write(values: readonly string[]): string[] {
      // One byte a character, wherever it is cut.
      const text = `[${values.join()}]`.replace(/[^\x20-\x7e]/g, escaped)
      const count = Math.ceil(text.length / pieceBytes)
      number += 1
      return Array.from({ length: count }, (_, index) => {
        const piece = text.slice(index * pieceBytes, (index + 1) * pieceBytes)
        return `${sender} ${number} ${index} ${count} ${piece}`
      })
    },

    /** The values of a letter, once its last notice is there; undefined before, and of letters of our own. */
    read(notice: string): unknown[] | undefined {
      const [, from, letter, index, count, piece] = /^(\S+) (\d+) (\d+) (\d+) (.*)$/s.exec(notice) ?? []
      if (from === undefined || from === sender) return undefined
      const known = begun.get(from)
      const pieces = known?.letter === letter ? known!.pieces : []
      begun.delete(from)
      // The beginning was sent before this replica listened.
      if (pieces.length !== Number(index)) return undefined
      pieces.push(piece!)
      if (pieces.length === Number(count)) return parsed(pieces.join(''))
      begun.set(from, { letter: letter!, pieces })
      return undefined
    },

    forget(): void {
      begun.clear()
    },
  }
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}

/** Others may write into this database, too. */
function parsed(text: string): unknown[] | undefined {
  try {
    const values: unknown = JSON.parse(text)
    return Array.isArray(values) ? values : undefined
  } catch {
    return undefined
  }
}
