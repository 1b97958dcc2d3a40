import { isPair, isScalar, isSeq, visit, type Node, type Pair } from 'yaml'
import type { Path, YamlFile } from './parse-yaml.ts'

/** A value of the file that took something from the environment. */
export interface Substituted {
  path: Path
  text: string
  /** It stood without quotes, so that it may also be meant as a number or a boolean. */
  plain: boolean
}

/**
 * Puts the environment in for `${NAME}`, `${NAME:-default}` and `${NAME:?message}` in the values of the parsed
 * file: what a variable holds can't become a key or another value. `$${` stands for a plain `${`. A variable that
 * is not set is refused, never taken as empty; after `:-` and `:?` an empty one counts as not set.
 */
export function substituteEnvironment(
  yaml: YamlFile,
  env: NodeJS.ProcessEnv,
  refuse: (at: Path, reason: string) => void,
): Substituted[] {
  const all: Substituted[] = []
  visit(yaml.document, {
    Scalar: (key, node, ancestors) => {
      if (key === 'key' || typeof node.value !== 'string' || !node.value.includes('${')) return
      const path = pathOf([...ancestors, node] as Node[])
      const text = substitute(node.value, env, (reason) => refuse(path, reason))
      node.value = text
      all.push({ path, text, plain: node.type === 'PLAIN' })
    },
  })
  return all
}

const reference = /\$(\$\{)|\$\{([^}]*)\}|\$\{/g
const inside = /^([A-Za-z_][A-Za-z0-9_]*)(?:(:-|:\?)([\s\S]*))?$/

function substitute(text: string, env: NodeJS.ProcessEnv, refuse: (reason: string) => void): string {
  return text.replace(reference, (whole, escaped: string | undefined, content: string | undefined) => {
    if (escaped !== undefined) return escaped
    const parts = inside.exec(content ?? '')
    if (!parts) {
      refuse(
        `has a \${ that is none of \${NAME}, \${NAME:-default}, \${NAME:?message} (write $\${ for a plain one)`,
      )
      return whole
    }
    const [, name = '', operator, operand = ''] = parts
    const value = env[name]
    if (operator === ':-') return value || operand
    if (operator === ':?' ? value : value !== undefined) return value ?? ''
    refuse(
      operator === ':?' && operand !== ''
        ? `${name}: ${operand}`
        : `the environment variable ${name} is not set`,
    )
    return whole
  })
}

function pathOf(nodes: readonly (Node | Pair)[]): Path {
  return nodes.flatMap((node, index): PropertyKey[] => {
    if (isPair(node) && isScalar(node.key)) return [node.key.value as string]
    if (isSeq(node)) return [node.items.indexOf(nodes[index + 1])]
    return []
  })
}
