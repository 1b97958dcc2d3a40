/** A tar with one file that everybody may execute. `path` has at most 100 characters. */
export function singleFileTar(path: string, content: Buffer): Buffer {
  return entryTar(path, content, { type: '0', uid: 0, gid: 0 })
}

/** A tar with one folder that is empty. */
export function folderTar(path: string, owner: { uid: number; gid: number }): Buffer {
  return entryTar(`${path}/`, Buffer.alloc(0), { type: '5', ...owner })
}

function entryTar(
  path: string,
  content: Buffer,
  { type, uid, gid }: { type: string; uid: number; gid: number },
): Buffer {
  const head = Buffer.alloc(512)
  const octal = (value: number, at: number, digits: number): void => {
    head.write(value.toString(8).padStart(digits, '0'), at, 'latin1')
  }
  head.write(path, 0, 100, 'latin1')
  octal(0o755, 100, 7)
  octal(uid, 108, 7)
  octal(gid, 116, 7)
  octal(content.length, 124, 11)
  octal(0, 136, 11)
  head.write(type, 156, 'latin1')
  head.write('ustar\u000000', 257, 'latin1')
  head.fill(' ', 148, 156)
  octal(
    head.reduce((sum, byte) => sum + byte, 0),
    148,
    6,
  )
  head[154] = 0
  // The content fills whole blocks; two empty ones are the end.
  return Buffer.concat([
    head,
    content,
    Buffer.alloc((512 - (content.length % 512)) % 512),
    Buffer.alloc(1024),
  ])
}
