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
 * `{interpreter}` the tool that was found, `{entrypoint}` the path of the program's main file,
 * `{stem}` that path without its ending, `{sources}` every given file with one of `extensions`
 * (as many words), `{args}` the caller's arguments (as many words).
 */
export interface Runtime {
  /** The file that `code` becomes. */
  file: string
  /** Endings of source files, for `{sources}`. */
  extensions: readonly string[]
  /** Tools to look for, in order: the first that answers `version` is `{interpreter}`. */
  find: readonly string[]
  version: { args: readonly string[]; pattern: RegExp }
  /** Its own time limit, in seconds, beside the run's; its output is kept apart. */
  compile?: { command: readonly string[]; timeout_sec: number }
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
    file: 'main.mjs',
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
    compile: {
      command: ['{interpreter}', '--target', 'es2022', '--module', 'commonjs', '{sources}'],
      timeout_sec: 30,
    },
    run: ['node', '{stem}.js', '{args}'],
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
    compile: { command: ['{interpreter}', '-O2', '-o', 'main', '{sources}', '-lm'], timeout_sec: 30 },
    run: ['./main', '{args}'],
    image: 'gcc:14',
  },
  cpp: {
    file: 'main.cpp',
    extensions: ['.cpp', '.cc', '.cxx'],
    find: ['g++', 'c++', 'clang++'],
    version: { args: ['-dumpfullversion', '-dumpversion'], pattern: /(\d+\.\d+\.\d+)/ },
    compile: { command: ['{interpreter}', '-O2', '-o', 'main', '{sources}', '-lm'], timeout_sec: 30 },
    run: ['./main', '{args}'],
    image: 'gcc:14',
  },
  java: {
    file: 'Main.java',
    extensions: ['.java'],
    find: ['javac'],
    version: { args: ['-version'], pattern: /javac (\d+(?:\.\d+)*)/ },
    compile: { command: ['{interpreter}', '-d', '.', '{sources}'], timeout_sec: 30 },
    run: ['java', '-cp', '.', '{stem}', '{args}'],
    image: 'eclipse-temurin:21',
  },
  go: {
    file: 'main.go',
    extensions: ['.go'],
    find: ['go'],
    version: { args: ['version'], pattern: /go(\d+\.\d+(?:\.\d+)?)/ },
    compile: { command: ['{interpreter}', 'build', '-o', 'main', '{sources}'], timeout_sec: 60 },
    run: ['./main', '{args}'],
    env: { GOTOOLCHAIN: 'local', GOPROXY: 'off', GOFLAGS: '-mod=mod', GO111MODULE: 'off' },
    image: 'golang:1.24',
  },
  rust: {
    file: 'main.rs',
    extensions: ['.rs'],
    find: ['rustc'],
    version: { args: ['--version'], pattern: /rustc (\d+\.\d+\.\d+)/ },
    compile: { command: ['{interpreter}', '-O', '-o', 'main', '{entrypoint}'], timeout_sec: 60 },
    run: ['./main', '{args}'],
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
    run: ['{interpreter}', '{entrypoint}', '{args}'],
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
