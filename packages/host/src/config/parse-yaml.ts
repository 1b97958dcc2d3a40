import { isMap, isScalar, isSeq, LineCounter, parseDocument, visit, type Document, type Node } from 'yaml'

/** Keys and indexes from the top of the document. */
export type Path = readonly PropertyKey[]

export interface YamlFile {
  document: Document
  /** Where and why it is not plain YAML 1.2: duplicate keys, unknown tags, aliases, several documents, bad syntax. */
  errors: { position: string; message: string }[]
  /** `line:column`, from 1, of the key or item at `path`, or of the nearest thing above that is there. */
  locate(path: Path): string
}

export function parseYaml(text: string): YamlFile {
  const lines = new LineCounter()
  // Pretty messages quote the source, which could quote a secret.
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    stringKeys: true,
    version: '1.2',
  })
  const position = (offset: number): string => {
    const { line, col } = lines.linePos(offset)
    return `${Math.max(1, line)}:${Math.max(1, col)}`
  }
  const found = [...document.errors, ...document.warnings]
  // After a syntax error the rest of the file is misread: its further errors would only confuse.
  const told = [
    ...found.filter((one) => one.code === 'DUPLICATE_KEY'),
    ...found.filter((one) => one.code !== 'DUPLICATE_KEY').slice(0, 1),
  ].map((one) => ({ offset: one.pos[0], message: one.message }))
  visit(document, {
    Alias: (_, node) => {
      told.push({ offset: start(node), message: 'Aliases are not used here: write the value out' })
    },
    // The schemas would pass over it in silence.
    Pair: (_, { key }) => {
      if (isScalar(key) && key.value === '__proto__')
        told.push({ offset: start(key), message: '__proto__ cannot be a key' })
    },
  })
  return {
    document,
    errors: told
      .toSorted((a, b) => a.offset - b.offset)
      .map(({ offset, message }) => ({ position: position(offset), message })),
    locate: (path) => position(offsetOf(document, path)),
  }
}

/** For a key that is in the file the key itself, so that the editor's cursor lands on the word that is wrong. */
function offsetOf(document: Document, path: Path): number {
  let node: unknown = document.contents
  let offset = start(node)
  for (const part of path) {
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && key.value === part)
      if (!pair) return offset
      offset = start(pair.key)
      node = pair.value
    } else if (isSeq(node) && node.items[Number(part)] !== undefined) {
      node = node.items[Number(part)]
      offset = start(node)
    } else return offset
  }
  return offset
}

function start(node: unknown): number {
  return (node as Node | null)?.range?.[0] ?? 0
}
