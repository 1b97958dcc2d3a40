import { array, assert, constantFrom, oneof, property, string, stringMatching } from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  dependenciesFor,
  dependencyFaults,
  installsDependencies,
  normalDependencies,
} from './dependencies.ts'
import { runtimeName, type RuntimeName } from './runtimes.ts'

const normal = (runtime: RuntimeName, text: string): string => normalDependencies(runtime, [text])[0]!
const fault = (runtime: RuntimeName, text: string): string =>
  dependencyFaults(runtime, [text])[0]?.detail ?? 'none'

describe('a dependency of Python', () => {
  it.each([
    ['requests', 'requests'],
    [' Flask ', 'flask'],
    ['zope.Interface__x', 'zope-interface-x'],
    ['requests [Socks, security,socks] >= 2.31 , <3', 'requests[security,socks]<3,>=2.31'],
    ['requests[use_chardet.x]', 'requests[use_chardet.x]'],
    ['a (>=1, !=1.5.*)', 'a!=1.5.*,>=1'],
    ['a ( == 1.0 )', 'a==1.0'],
    ['a~=2.2.post3', 'a~=2.2.post3'],
    ['a==1!2.0.RC1.post2.dev3+Ubuntu-1', 'a==1!2.0.rc1.post2.dev3+ubuntu-1'],
    ['a===1.0+local', 'a===1.0+local'],
    ['a>0,==1+b.tgz', 'a==1+b.tgz,>0'],
    ['a==v1.0-1', 'a==v1.0-1'],
    ['a==2.*', 'a==2.*'],
    ["a;python_version<'3.11'", 'a; python_version < "3.11"'],
    ['a>1 ; "linux" == sys_platform', 'a>1; "linux" == sys_platform'],
    [
      `a; (os_name == 'nt' or sys_platform not  in "linux darwin") and (((extra=="x")))`,
      'a; (os_name == "nt" or sys_platform not in "linux darwin") and extra == "x"',
    ],
    [
      'a; os_name=="a" and os_name=="b" or os_name=="c"',
      'a; os_name == "a" and os_name == "b" or os_name == "c"',
    ],
  ])('%s is %s', (text, expected) => {
    expect(normal('python', text)).toBe(expected)
    expect(normal('python', expected)).toBe(expected)
  })

  it.each(
    [
      ['', '-r other.txt', '--index-url=http://evil', '-e .', '-', '.', './a', '/a', '../a', '~/a', 'a/b'],
      ['a @ file:///etc/passwd', 'a@https://h/a.whl', 'https://h/a.whl', 'git+https://h/a', 'C:\\a'],
      ['a # b', 'a #b', '# a', 'a\nb', 'a\r-r b', 'a\u2028b', 'a\u00a0==1', 'a\t==1', 'a\\', 'ä', 'a\0'],
      ['a -r b', 'a --hash=sha256:00', 'a==1 -r b', 'a b', 'a,b', 'a;', 'a; b', '${HOME}', 'a==${HOME}'],
      [
        'a.',
        'a-',
        '_a',
        'a[',
        'a[]',
        'a[-r]',
        'a[b c]',
        'a[b]]',
        'a()',
        'a(>=1',
        'a>=',
        'a>=1,',
        'a=1',
        'a=>1',
      ],
      ['a>=1.*', 'a~=1', 'a~=1.*', 'a<1+local', 'a==1.*.2', 'a==1.*+x', 'a==one', 'a==1 2', 'a===x', 'a==-1'],
      ['a; python_version', 'a; "a" == "b"', 'a; os_name == sys_platform', 'a; os_name = "a"', 'a; x == "y"'],
      [
        'a; os_name == "a" or',
        'a; (os_name == "a"',
        'a; os_name == "a\'',
        'a; os_name == "a" #',
        'a; os.name == "a"',
      ],
      ['a; os_name == "a #b"', 'a; os_name == "a -r b"', 'a; os_name == "${HOME}"', 'a; os_name == "a\\"'],
      ['a==1+b.zip', 'a==1+b.tar.gz', 'a===1+whl.WHL'],
    ].flat(),
  )('is never %j', (text) => {
    expect(fault('python', text)).toMatch(/^must /)
  })

  it.each([
    ['a @ https://h/a.whl', 'must not name a URL: packages come from the index of the executor'],
    ['-r x', /^must be a requirement .*: a name of letters, .* is expected at character 1$/],
    ['a>=1;', /: a variable such as python_version or sys_platform is expected at character 6$/],
    ['a==1+b.whl', 'must not end as the name of a file does'],
    ['a~=1', /: a version \(PEP 440\) that ~= compares is expected at character 4$/],
  ])('is told what is wrong with %j', (text, words) => {
    expect(fault('python', text)).toMatch(words)
  })
})

describe('a dependency of Node', () => {
  it.each([
    ['lodash', 'lodash'],
    [' @types/node ', '@types/node'],
    ['JSONStream@1', 'JSONStream@1'],
    ['lodash@4.17.21', 'lodash@4.17.21'],
    ['@a-b/c.d_e@^1.2', '@a-b/c.d_e@^1.2'],
    ['a@>= 1.2  <2||~3.x || 4 - 5.0.0-rc.1+build', 'a@>=1.2 <2 || ~3.x || 4 - 5.0.0-rc.1+build'],
    ['a@latest', 'a@latest'],
    ['a@next-15', 'a@next-15'],
    ['a@*', 'a@*'],
    ['a@ v1.2.3', 'a@v1.2.3'],
  ])('%s is %s', (text, expected) => {
    expect(normal('node', text)).toBe(expected)
    expect(normal('node', expected)).toBe(expected)
  })

  it.each(
    [
      [
        '',
        '-g',
        '--registry=http://evil',
        '.',
        './a',
        '../a',
        '/a',
        '~/a',
        'a/b',
        '@a',
        '@/a',
        '@a/',
        '@a/b/c',
        '@a/-b',
      ],
      ['_a', '.a', 'a b', 'a\n', 'a\tb', 'ä', 'a\0', 'a#b', 'a?b', 'a%2fb', '${HOME}', 'a;b'],
      [
        'a@',
        'a@ ',
        'a@@',
        'a@1@2',
        'a@npm:b',
        'a@npm:b@1',
        'npm:a',
        'a@workspace:*',
        'a@file:b',
        'file:b',
        'a@link:b',
      ],
      [
        'a@https://h/a.tgz',
        'https://h/a.tgz',
        'git://h/a',
        'git+ssh://git@h/a',
        'a@github:b/c',
        'b/c#main',
        'a@b/c',
      ],
      [
        'a.tgz',
        'a.tar.gz',
        'a.TAR',
        'a@1.0.0-b.tgz',
        'a@x.tar',
        'a@./b',
        'a@../b',
        'a@~/b',
        'a@/b',
        'a@-1',
        'a@C:',
      ],
      [
        'a@1.2.3.4',
        'a@>1 ||',
        'a@|| 1',
        'a@1,2',
        'a@01',
        'a@^',
        'a@1 -2',
        'a@latest next',
        'a@1 latest',
        'a@"1"',
      ],
      ['a'.repeat(215)],
    ].flat(),
  )('is never %j', (text) => {
    expect(fault('node', text)).toMatch(/^must /)
  })

  it('is asked for in one version', () => {
    expect(dependencyFaults('node', ['a@1', 'b', 'a@1', 'a@2'])).toEqual([
      { index: 3, detail: 'must not ask for another version of a than a@1 does' },
    ])
    expect(dependencyFaults('node', ['b', 'a'], ['a@2'])).toEqual([
      { index: 1, detail: 'must not ask for another version of a than a@2 does' },
    ])
    expect(dependencyFaults('python', ['a>1', 'a<2'], ['a'])).toEqual([])
  })
})

describe('dependencies', () => {
  it('are installed for Python and Node alone', () => {
    expect(runtimeName.options.filter(installsDependencies)).toEqual(['python', 'node'])
    expect(dependencyFaults('bash', ['a'])).toEqual([
      { index: 0, detail: 'cannot be installed: bash has no dependency installer' },
    ])
    expect(dependencyFaults('bash', [])).toEqual([])
    expect(dependencyFaults('typescript', ['lodash'])).toHaveLength(1)
  })

  it('are those of the executor for its own runtime, and those that are asked for', () => {
    const executor = { runtime: 'python' as const, dependencies: ['B', 'a'] }
    expect(dependenciesFor(executor, 'python', ['c', 'b'])).toEqual(['a', 'b', 'c'])
    expect(dependenciesFor(executor, 'node', ['c'])).toEqual(['c'])
    expect(dependenciesFor(executor, 'bash')).toEqual([])
    expect(() => dependenciesFor(executor, 'python', ['-r x'])).toThrow('the dependency -r x must be')
  })

  it('are no longer than one may be, also as they are normalised', () => {
    const text = `a${';os_name=="x"and os_name=="y"'.padEnd(500, 'and os_name=="z"')}`
    const marker = Array.from({ length: 31 }, () => 'os_name=="x"').join(' or ')
    expect(fault('python', text)).toMatch(/^must /)
    expect(`a;${marker}`.length).toBeLessThanOrEqual(512)
    expect(fault('python', `a;${marker}`)).toBe('must not be longer than 512 characters')
  })
})

/** Beginnings of what could be dependencies, put together with what could mislead. */
const fragments = (words: string[]) =>
  array(oneof(constantFrom(...words), string({ maxLength: 2, unit: 'binary' })), { maxLength: 9 }).map(
    (parts) => parts.join(''),
  )
const python = fragments([
  'a',
  'B-',
  '.',
  '[x]',
  '==',
  '>=',
  '1.0',
  '*',
  '; ',
  'os_name',
  ' == ',
  '"',
  "'",
  'x',
  ' and ',
  ' -r b',
  '#',
  ' ',
  '(',
  ')',
  '@',
  '/',
  ',',
  '+b.zip',
  '${A}',
  '\\',
  '\n',
])
const node = fragments([
  'a',
  '@',
  '@s/',
  '^',
  '1.0.0',
  '-b',
  ' ',
  '||',
  '.tgz',
  '/',
  ':',
  'npm:',
  '~',
  '..',
  ' - ',
  '>=',
  '*',
  'x',
  '#',
  'file:',
])
const shapes = {
  python: [
    python,
    stringMatching(
      /^[a-z]{1,3}(\[[a-z]\])?(==|>=|~=)1\.[0-9](\.\*|\+[a-z.]{1,6})?(; os_name == "[a-z #$-]{0,5}")?$/,
    ),
  ],
  node: [node, stringMatching(/^(@[a-z]\/)?[a-z.-]{1,4}@[~^>= ]{0,2}[0-9x](\.[0-9]){0,2}(-[a-z.]{1,5})?$/)],
} as const

describe.each(['python', 'node'] as const)('whatever is given for %s', (runtime) => {
  const given = oneof(...shapes[runtime])
  const whole =
    runtime === 'python'
      ? /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\[[a-z0-9._,-]+\])?(?:[<>=!~][a-z0-9.,<>=!~+*_-]*)?(?:; [A-Za-z0-9"_ ().+*,<>=!~-]+)?$/
      : /^(?:@[a-z0-9][a-z0-9._-]*\/)?[A-Za-z0-9][A-Za-z0-9._-]*(?:@[A-Za-z0-9<>=~^*][A-Za-z0-9._ |<>=~^*+-]*)?$/

  it('is a fault, or one requirement that stays as it is', () => {
    let accepted = 0
    assert(
      property(given, (text) => {
        if (dependencyFaults(runtime, [text]).length > 0) return
        accepted += 1
        const [one, ...more] = normalDependencies(runtime, [text])
        expect(more).toEqual([])
        expect(one).toMatch(whole)
        expect(one).not.toMatch(/ -(?! )|\.(?:zip|whl|tgz|tar|gz)(?:;|$)/i)
        expect(normal(runtime, one!)).toBe(one)
      }),
      { numRuns: 3_000 },
    )
    expect(accepted).toBeGreaterThan(100)
  })

  it('is the same set in any order', () => {
    assert(
      property(array(given, { maxLength: 5 }), (all) => {
        const good = all.filter((text) => dependencyFaults(runtime, [text]).length === 0)
        if (dependencyFaults(runtime, good).length > 0) return
        const set = normalDependencies(runtime, good)
        expect(normalDependencies(runtime, [...good.toReversed(), ...set])).toEqual(set)
      }),
    )
  })
})
