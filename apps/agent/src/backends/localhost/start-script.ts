/**
 * What `sh` runs inside the sandbox to become the program: environment and arguments come from this file and not from
 * a command line, which every user of the host could read. `stderr` is the descriptor that becomes the program's
 * standard error, `unneeded` are those it must not have.
 */
export function startScript(
  command: readonly string[],
  env: Readonly<Record<string, string>>,
  { stderr, unneeded }: { stderr: number; unneeded: readonly number[] },
): string {
  const names = Object.keys(env)
  const plain = names.filter((name) => !ownedByShells.test(name))
  const owned = names.filter((name) => ownedByShells.test(name))
  const words =
    owned.length === 0
      ? command
      : ['/usr/bin/env', ...owned.map((name) => `${name}=${env[name]}`), ...command]
  return [
    'ulimit -c 0',
    'unset LC_ALL PWD OLDPWD',
    ...plain.map((name) => `export ${name}=${quote(env[name] ?? '')}`),
    ['exec', ...words.map(quote), `2>&${stderr}`, ...[stderr, ...unneeded].map((fd) => `${fd}>&-`)].join(' '),
    '',
  ].join('\n')
}

/** Variables that dash or bash refuse to set, or give a value of their own. */
const ownedByShells =
  /^(OPTIND|PPID|E?UID|GROUPS|LINENO|S?RANDOM|SECONDS|EPOCH\w+|FUNCNAME|DIRSTACK|HISTCMD|BASH\w*|SHELLOPTS|_)$/

function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`
}
