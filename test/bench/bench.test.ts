import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import { expect, it, onTestFinished } from 'vitest'

it('prints every subject beside its baseline and keeps the figures', async () => {
  const out = mkdtempSync(join(tmpdir(), 'errand-bench-'))
  onTestFinished(() => rmSync(out, { recursive: true }))
  const main = join(import.meta.dirname, 'main.ts')
  const short = ['--seconds', '0.2', '--rounds', '1', '--at-once', '1,2']
  const { stdout } = await execa(process.execPath, [main, ...short, '--out', out])
  const [file] = readdirSync(out)
  const kept = JSON.parse(readFileSync(join(out, file!), 'utf8'))
  expect(kept).toMatchObject({ commit: expect.any(String), machine: { cores: expect.any(Number) } })
  const subjects = [
    'bare spawn',
    'Errand, unsandboxed, PostgreSQL',
    'Errand, sandboxed, PGlite',
    'docker run --rm',
    'docker run --rm --network none',
    'Errand, docker, PostgreSQL',
    'OpenSSH, fresh',
    'OpenSSH, multiplexed',
    'Errand, ssh, PostgreSQL',
  ]
  for (const name of subjects)
    for (const at_once of [1, 2]) {
      expect(kept.rows).toContainEqual(expect.objectContaining({ name, at_once, runs: expect.any(Number) }))
      expect(stdout).toMatch(new RegExp(`^\\| ${at_once} \\| ${name} \\|`, 'm'))
    }
}, 240_000)
