import type { AnyAuthMethod, AuthHandlerMiddleware, ParsedKey } from 'ssh2'

/** Who logs in with what. */
export interface Credentials {
  username: string
  key: ParsedKey | undefined
  password: string | undefined
}

/**
 * Tries the key, then the password. A target that takes passwords by keyboard-interactive alone gets it as the answer
 * to its one hidden question; no other question is answered. For one connection.
 */
export function authenticator(credentials: Credentials): AuthHandlerMiddleware {
  const tried = new Set<string>()
  return (left: readonly string[] | null, _partial, next) => {
    // ssh2 takes false for: nothing more to try.
    next((nextMethod(credentials, left, tried) ?? false) as AnyAuthMethod)
  }
}

function nextMethod(
  { username, key, password }: Credentials,
  left: readonly string[] | null,
  tried: Set<string>,
): AnyAuthMethod | undefined {
  if (key && take('publickey')) return { type: 'publickey', username, key }
  if (password === undefined) return undefined
  if (take('password')) return { type: 'password', username, password }
  // Not where the password itself was just refused.
  if (!left?.includes('password') && take('keyboard-interactive'))
    return {
      type: 'keyboard-interactive',
      username,
      prompt: (_name, _instructions, _lang, prompts, finish) => {
        const hidden = prompts.length === 1 && prompts[0]?.echo !== true
        finish(hidden ? [password] : prompts.map(() => ''))
      },
    }
  return undefined

  function take(type: string): boolean {
    if (tried.has(type) || (left && !left.includes(type))) return false
    tried.add(type)
    return true
  }
}
