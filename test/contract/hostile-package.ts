import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import type { PackageIndexServer } from '../../infra/package-index.ts'

/**
 * Has an index serve `errand-hostile` until its fault is set anew: a source distribution that runs this Python code when
 * it is built. What the code leaves in `told` is `errand_hostile.told` for who imports it.
 */
export function serveHostile(index: PackageIndexServer, code: string): void {
  const sdist = execFileSync('/usr/bin/python3', ['-c', archive, code], { maxBuffer: 16 * 1024 * 1024 })
  const file = 'errand_hostile-1.0.tar.gz'
  const page = `<!DOCTYPE html><html><body><a href="${index.filesUrl}/files/${file}">${file}</a></body></html>`
  index.fault = (path) => {
    if (path === '/simple/errand-hostile/')
      return { status: 200, headers: { 'content-type': 'text/html' }, body: page }
    return path === `/files/${file}` ? { status: 200, body: sdist } : undefined
  }
}

/** It is its own build backend, so that nothing else is needed to build it. */
const archive = String.raw`
import io, sys, tarfile
backend = sys.argv[1] + '''
import os, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    name, info = 'errand_hostile-1.0-py3-none-any.whl', 'errand_hostile-1.0.dist-info/'
    with zipfile.ZipFile(os.path.join(folder, name), 'w') as wheel:
        wheel.writestr('errand_hostile.py', 'told = ' + repr(told))
        wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: errand-hostile\\nVersion: 1.0\\n')
        wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
        wheel.writestr(info + 'RECORD', '')
    return name
'''
files = {
    'PKG-INFO': 'Metadata-Version: 2.1\nName: errand-hostile\nVersion: 1.0\n',
    'pyproject.toml': '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
    'backend.py': backend,
}
with tarfile.open(fileobj=sys.stdout.buffer, mode='w:gz') as file:
    for name, text in files.items():
        entry = tarfile.TarInfo('errand_hostile-1.0/' + name)
        entry.size = len(text.encode())
        file.addfile(entry, io.BytesIO(text.encode()))
`

/** The same for npm: a package that runs this code of Node's when it is installed. */
export function serveHostileScript(index: PackageIndexServer, code: string): void {
  const metadata = {
    name: 'errand-hostile',
    version: '1.0.0',
    scripts: { postinstall: 'node run.cjs' },
  }
  const files = { 'package.json': JSON.stringify(metadata), 'run.cjs': code, 'index.js': '' }
  const tarball = execFileSync('/usr/bin/python3', ['-c', packed, JSON.stringify(files)])
  const integrity = `sha512-${createHash('sha512').update(tarball).digest('base64')}`
  const path = '/files/errand-hostile-1.0.0.tgz'
  const dist = { tarball: index.filesUrl + path, integrity }
  const page = JSON.stringify({
    name: 'errand-hostile',
    'dist-tags': { latest: '1.0.0' },
    versions: { '1.0.0': { ...metadata, hasInstallScript: true, dist } },
  })
  index.fault = (asked) => {
    if (asked === '/npm/errand-hostile')
      return { status: 200, headers: { 'content-type': 'application/json' }, body: page }
    return asked === path ? { status: 200, body: tarball } : undefined
  }
}

const packed = String.raw`
import io, json, sys, tarfile
with tarfile.open(fileobj=sys.stdout.buffer, mode='w:gz') as file:
    for name, text in json.loads(sys.argv[1]).items():
        entry = tarfile.TarInfo('package/' + name)
        entry.size = len(text.encode())
        file.addfile(entry, io.BytesIO(text.encode()))
`
