import { z } from 'zod'

export const runtimeName = z.enum([
  'python',
  'node',
  'typescript',
  'bash',
  'c',
  'cpp',
  'java',
  'go',
  'rust',
  'ruby',
  'php',
  'perl',
  'lua',
])
export type RuntimeName = z.infer<typeof runtimeName>

/**
 * A language environment as data. In commands, whole words stand for parts of the run:
 * `{interpreter}` the tool that was found, `{launcher}` the tool that runs what `{interpreter}` compiled,
 * `{entrypoint}` the path of the program's main file, `{emitted}` that path with the ending `emits` gives it,
 * `{directory}` the folder it lies in, `{class}` its Java class name, `{sources}` every given file with one of
 * `extensions` (as many words), `{args}` the caller's arguments (as many words).
 */
export interface Runtime {
  /** The file that `code` becomes. */
  file: string
  /** Endings of source files, for `{sources}`. */
  extensions: readonly string[]
  /** Tools to look for, in order: the first that answers `version` is `{interpreter}`. */
  find: readonly string[]
  version: { args: readonly string[]; pattern: RegExp }
  /** Looked for beside `{interpreter}`, then as `find` is. */
  launcher?: string
  /** Its own time limit, in seconds, beside the run's; its output is kept apart. */
  compile?: { command: readonly string[]; timeout_sec: number }
  /** Endings that the compile step turns into others. */
  emits?: Readonly<Record<string, string>>
  run: readonly string[]
  env?: Readonly<Record<string, string>>
  /** The image where an executor names none. */
  image: string
}

export const runtimes: Record<RuntimeName, Runtime> = {
  python: {
    file: 'main.py',
    extensions: ['.py'],
    find: ['python3', 'python'],
    version: { args: ['--version'], pattern: /Python (\d+\.\d+\.\d+)/ },
    run: ['{interpreter}', '{entrypoint}', '{args}'],
    env: { PYTHONDONTWRITEBYTECODE: '1' },
    image: 'python:3.13-slim',
  },
  node: {
    // Not .mjs: from Node 20.19 on a .js file may use either `import` or `require`.
    file: 'main.js',
    extensions: ['.js', '.mjs', '.cjs'],
    find: ['node', 'nodejs'],
    version: { args: ['--version'], pattern: /v(\d+\.\d+\.\d+)/ },
    run: ['{interpreter}', '{entrypoint}', '{args}'],
    image: 'node:24-slim',
  },
  typescript: {
    file: 'main.ts',
    extensions: ['.ts', '.mts', '.cts'],
    find: ['tsc'],
    version: { args: ['--version'], pattern: /Version (\d+\.\d+\.\d+)/ },
    launcher: 'node',
    compile: {
      // Type errors are compile errors, missing annotations are not. Every file is a module, so that a program
      // may `declare var require` or name a variable `name`. The two roots are npm's and Debian's.
      command: [
        ['{interpreter}', '--target', 'es2022', '--module', 'commonjs', '--moduleDetection', 'force'],
        ['--strict', 'false', '--skipLibCheck', '--pretty', 'false', '--types', 'node'],
        ['--typeRoots', '/usr/local/lib/node_modules/@types,/usr/share/nodejs/@types', '{sources}'],
      ].flat(),
      timeout_sec: 30,
    },
    emits: { '.ts': '.js', '.mts': '.mjs', '.cts': '.cjs' },
    run: ['{launcher}', '{emitted}', '{args}'],
    image: 'errand/typescript',
  },
  bash: {
    file: 'main.sh',
    extensions: ['.sh', '.bash'],
    find: ['bash'],
    version: { args: ['--version'], pattern: /version (\d+\.\d+\.\d+)/ },
    run: ['{interpreter}', '{entrypoint}', '{args}'],
    image: 'debian:bookworm-slim',
  },
  c: {
    file: 'main.c',
    extensions: ['.c'],
    find: ['gcc', 'cc', 'clang'],
    version: { args: ['-dumpfullversion', '-dumpversion'], pattern: /(\d+\.\d+\.\d+)/ },
    compile: {
      command: ['{interpreter}', '-O2', '-pthread', '-I.', '-o', 'a.out', '{sources}', '-lm'],
      timeout_sec: 30,
    },
    run: ['./a.out', '{args}'],
    image: 'gcc:14',
  },
  cpp: {
    file: 'main.cpp',
    extensions: ['.cpp', '.cc', '.cxx'],
    find: ['g++', 'c++', 'clang++'],
    version: { args: ['-dumpfullversion', '-dumpversion'], pattern: /(\d+\.\d+\.\d+)/ },
    compile: {
      command: ['{interpreter}', '-O2', '-pthread', '-I.', '-o', 'a.out', '{sources}'],
      timeout_sec: 30,
    },
    run: ['./a.out', '{args}'],
    image: 'gcc:14',
  },
  java: {
    file: 'Main.java',
    extensions: ['.java'],
    find: ['javac'],
    version: { args: ['-version'], pattern: /javac (\d+(?:\.\d+)*)/ },
    launcher: 'java',
    compile: {
      command: ['{interpreter}', '-J-XX:TieredStopAtLevel=1', '-encoding', 'UTF-8', '-d', '.', '{sources}'],
      timeout_sec: 30,
    },
    run: ['{launcher}', '-cp', '.', '{class}', '{args}'],
    image: 'eclipse-temurin:21',
  },
  go: {
    file: 'main.go',
    extensions: ['.go'],
    find: ['go'],
    version: { args: ['version'], pattern: /go(\d+\.\d+(?:\.\d+)?)/ },
    compile: { command: ['{interpreter}', 'build', '-o', 'a.out', '{directory}'], timeout_sec: 60 },
    run: ['./a.out', '{args}'],
    // With a go.mod among the files as a module, without one as a plain folder; never from the network.
    env: { GO111MODULE: 'auto', GOTOOLCHAIN: 'local', GOPROXY: 'off' },
    image: 'golang:1.24',
  },
  rust: {
    file: 'main.rs',
    extensions: ['.rs'],
    find: ['rustc'],
    version: { args: ['--version'], pattern: /rustc (\d+\.\d+\.\d+)/ },
    compile: {
      command: ['{interpreter}', '--edition', '2021', '-O', '-o', 'a.out', '{entrypoint}'],
      timeout_sec: 60,
    },
    run: ['./a.out', '{args}'],
    image: 'rust:1',
  },
  ruby: {
    file: 'main.rb',
    extensions: ['.rb'],
    find: ['ruby'],
    version: { args: ['--version'], pattern: /ruby (\d+\.\d+\.\d+)/ },
    run: ['{interpreter}', '{entrypoint}', '{args}'],
    image: 'ruby:3.4-slim',
  },
  php: {
    file: 'main.php',
    extensions: ['.php'],
    find: ['php'],
    version: { args: ['--version'], pattern: /PHP (\d+\.\d+\.\d+)/ },
    // Errors go to stderr, once, whatever the host's php.ini says.
    run: '{interpreter} -d display_errors=stderr -d log_errors=0 -d html_errors=0 {entrypoint} {args}'.split(
      ' ',
    ),
    image: 'php:8.4-cli',
  },
  perl: {
    file: 'main.pl',
    extensions: ['.pl', '.pm'],
    find: ['perl'],
    version: { args: ['--version'], pattern: /\(v(\d+\.\d+\.\d+)\)/ },
    run: ['{interpreter}', '{entrypoint}', '{args}'],
    image: 'perl:5-slim',
  },
  lua: {
    file: 'main.lua',
    extensions: ['.lua'],
    find: ['lua5.4', 'lua'],
    version: { args: ['-v'], pattern: /Lua (\d+\.\d+\.\d+)/ },
    run: ['{interpreter}', '{entrypoint}', '{args}'],
    image: 'errand/lua',
  },
}
