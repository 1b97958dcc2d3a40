/**
 * A command line that runs `script` in a POSIX shell, whatever the login shell is: between single quotes sh, bash, zsh,
 * fish and csh take everything but these as it is.
 */
export function shCommand(script: string): string {
  if (/['\\!\n]/.test(script)) throw new Error(`no login shell passes this on unchanged: ${script}`)
  return `exec /bin/sh -c '${script}'`
}
