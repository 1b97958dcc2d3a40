import { runTool } from './run-tool.ts'

/** A wheel or source distribution of Python, or a tarball of npm; all are of pure code and a few hundred bytes. */
export interface SamplePackage {
  name: string
  version: string
  file: string
  /** Of a wheel: its METADATA. Of a tarball: its package.json. */
  metadata: string
}

const wheel = (name: string, version: string, requires: string[] = []): SamplePackage => ({
  name,
  version,
  file: `${name.replaceAll('-', '_')}-${version}-py3-none-any.whl`,
  metadata: [
    ['Metadata-Version: 2.1', `Name: ${name}`, `Version: ${version}`],
    requires.map((one) => `Requires-Dist: ${one}`),
    [''],
  ]
    .flat()
    .join('\n'),
})

const tarball = (name: string, version: string, more: object = {}): SamplePackage => ({
  name,
  version,
  file: `${name.replace('@', '').replace('/', '-')}-${version}.tgz`,
  metadata: JSON.stringify({ name, version, main: 'index.js', ...more }),
})

/**
 * `errand-alpha` needs `errand-beta`; `errand-gamma` needs nothing. Each has `told()`, which returns its name and
 * version: `errand_alpha.told()` is `alpha 1.1, beta 1.2`.
 */
export const sampleWheels = [
  wheel('errand-alpha', '1.0', ['errand-beta']),
  wheel('errand-alpha', '1.1', ['errand-beta >=1.2']),
  wheel('errand-beta', '1.2'),
  wheel('errand-gamma', '0.1'),
]

/** It has no wheel: whoever installs it runs code of its own, which builds one. `told()` is `source 1.0`. */
export const sampleSource: SamplePackage = {
  name: 'errand-source',
  version: '1.0',
  file: 'errand_source-1.0.tar.gz',
  metadata: 'Metadata-Version: 2.1\nName: errand-source\nVersion: 1.0\n',
}

/**
 * `errand-left` needs `@errand-test/right`; their default export tells name and version, `left 1.0.0, right 1.1.0`.
 * `errand-scripted` has a script for after its installation, which leaves a file `ran` in its folder.
 */
export const sampleTarballs = [
  tarball('errand-left', '1.0.0', { dependencies: { '@errand-test/right': '^1.0.0' } }),
  tarball('@errand-test/right', '1.0.0'),
  tarball('@errand-test/right', '1.1.0'),
  tarball('@errand-test/right', '2.0.0-rc.1'),
  tarball('errand-scripted', '1.0.0', {
    scripts: { postinstall: `node -e "require('fs').writeFileSync('ran', '')"` },
  }),
]

/** Makes the files of all of them in a folder. */
export async function makeSamplePackages(dir: string): Promise<void> {
  const archives = [
    ...sampleWheels.map((one) => ({ file: one.file, entries: wheelEntries(one) })),
    ...sampleTarballs.map((one) => ({ file: one.file, entries: tarballEntries(one) })),
    { file: sampleSource.file, entries: sourceEntries(sampleSource) },
  ]
  await runTool('/usr/bin/python3', ['-c', script, dir, JSON.stringify(archives)])
}

function wheelEntries({ name, version, file, metadata }: SamplePackage): Record<string, string> {
  const module = name.replaceAll('-', '_')
  const info = `${module}-${version}.dist-info`
  const said = `${name.replace('errand-', '')} ${version}`
  const needs = /^Requires-Dist: errand-(\w+)/m.exec(metadata)?.[1]
  const code =
    needs === undefined
      ? `def told():\n    return '${said}'\n`
      : `import errand_${needs}\n\ndef told():\n    return '${said}, ' + errand_${needs}.told()\n`
  return {
    [`${module}/__init__.py`]: code,
    [`${info}/METADATA`]: metadata,
    [`${info}/WHEEL`]: `Wheel-Version: 1.0\nGenerator: ${file}\nRoot-Is-Purelib: true\nTag: py3-none-any\n`,
    [`${info}/RECORD`]: `${module}/__init__.py,,\n${info}/METADATA,,\n${info}/WHEEL,,\n${info}/RECORD,,\n`,
  }
}

function tarballEntries({ name, version, metadata }: SamplePackage): Record<string, string> {
  const said = `${name.replace(/^.*[-/]/, '')} ${version}`
  const { dependencies = {} } = JSON.parse(metadata) as { dependencies?: Record<string, string> }
  const needed = Object.keys(dependencies).map((one) => ` + ', ' + require('${one}')`)
  return {
    'package/package.json': metadata,
    'package/index.js': `module.exports = '${said}'${needed.join('')}\n`,
  }
}

function sourceEntries(source: SamplePackage): Record<string, string> {
  const folder = source.file.replace('.tar.gz', '')
  const file = `${folder}-py3-none-any.whl`
  const entries = JSON.stringify(JSON.stringify(wheelEntries({ ...source, file })))
  const backend = `
import json, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(folder + '/${file}', 'w') as file:
        for name, text in json.loads(${entries}).items(): file.writestr(name, text)
    return '${file}'
`
  return {
    [`${folder}/PKG-INFO`]: source.metadata,
    [`${folder}/backend.py`]: backend,
    [`${folder}/pyproject.toml`]:
      '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
  }
}

const script = `
import io, json, sys, tarfile, zipfile
folder, archives = sys.argv[1], json.loads(sys.argv[2])
for archive in archives:
    path = folder + '/' + archive['file']
    if path.endswith('.whl'):
        with zipfile.ZipFile(path, 'w') as file:
            for name, text in archive['entries'].items():
                file.writestr(zipfile.ZipInfo(name), text)
    else:
        with tarfile.open(path, 'w:gz') as file:
            for name, text in archive['entries'].items():
                entry = tarfile.TarInfo(name)
                entry.size = len(text.encode())
                file.addfile(entry, io.BytesIO(text.encode()))
`
