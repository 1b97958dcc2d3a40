import { posix } from 'node:path'
import type { Runtime } from '@errand/shared'
import type { Program } from './program.ts'

export interface CommandParts {
  interpreter: string
  /** Of the interpreter's own, for every command. */
  options?: readonly string[]
  launcher: string | undefined
  program: Program
  args: readonly string[]
}

/** A command of `runtimes.ts` as the words to execute; each value stays one word, whatever is in it. */
export function expandCommand(words: readonly string[], runtime: Runtime, parts: CommandParts): string[] {
  const { entrypoint, files } = parts.program
  return words.flatMap((word) => {
    switch (word) {
      case '{interpreter}':
        return [parts.interpreter, ...(parts.options ?? [])]
      case '{launcher}':
        return [parts.launcher ?? runtime.launcher ?? '']
      case '{entrypoint}':
        return [plainPath(entrypoint)]
      case '{emitted}':
        return [plainPath(emitted(entrypoint, runtime))]
      case '{directory}':
        return [`./${posix.dirname(entrypoint)}`]
      case '{class}':
        return [javaClass(parts.program)]
      case '{sources}':
        return files
          .map(({ path }) => path)
          .filter((path) => runtime.extensions.includes(posix.extname(path)))
          .map(plainPath)
      case '{args}':
        return parts.args
      default:
        return [word]
    }
  })
}

/** Compilers take a leading `@` for a file of options, `-` for an option and `+` for other things. */
function plainPath(path: string): string {
  return /^[-@+]/.test(path) ? `./${path}` : path
}

function emitted(path: string, { emits = {} }: Runtime): string {
  const extension = posix.extname(path)
  return path.slice(0, path.length - extension.length) + (emits[extension] ?? extension)
}

/** The entrypoint's public class: its file's name, in the package that the file declares. */
function javaClass({ files, entrypoint }: Program): string {
  const source = files.find(({ path }) => path === entrypoint)?.content ?? ''
  const text = typeof source === 'string' ? source : new TextDecoder().decode(source)
  const withoutComments = text.replace(/\/\*[^]*?\*\/|\/\/.*/g, ' ')
  const declared = /^\s*(?:@\w+\s+)*package\s+([\p{ID_Continue}$\s.]+?)\s*;/u.exec(withoutComments)?.[1]
  const className = posix.basename(entrypoint, '.java')
  return declared === undefined ? className : `${declared.replace(/\s+/g, '')}.${className}`
}
