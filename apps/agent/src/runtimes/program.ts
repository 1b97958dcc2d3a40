import type { Runtime, Submission } from '@errand/shared'

export interface SourceFile {
  /** Relative, checked by the contract's schema. */
  path: string
  content: string | Uint8Array
}

/** The files of a run and which of them is started. */
export interface Program {
  files: readonly SourceFile[]
  entrypoint: string
}

/** What a submission asks to run; `code` becomes the runtime's own file. */
export function programOf(submission: Submission, runtime: Runtime): Program {
  const { code, files, entrypoint } = submission
  if (files === undefined || entrypoint === undefined)
    return { files: [{ path: runtime.file, content: code ?? '' }], entrypoint: runtime.file }
  return {
    files: files.map(({ path, content, content_base64 }) => ({
      path,
      content: content ?? Buffer.from(content_base64 ?? '', 'base64'),
    })),
    entrypoint,
  }
}
